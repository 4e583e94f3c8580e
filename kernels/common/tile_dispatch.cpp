#include <array>

#include "kernels/common/tile_kernels.h"

namespace gca::kernels {

// Each is defined in tile_kernels.cpp, compiled with that instruction set.
namespace baseline {
extern const TileKernels kKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const TileKernels kKernels;
}
namespace avx512 {
extern const TileKernels kKernels;
}
#endif

std::span<const TileKernels* const> runnable_tile_kernels() {
  static const auto list = [] {
    struct {
      std::array<const TileKernels*, 3> kernels{&baseline::kKernels};
      size_t count = 1;
    } runnable;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      runnable.kernels[runnable.count++] = &avx2::kKernels;
      if (__builtin_cpu_supports("avx512f")) runnable.kernels[runnable.count++] = &avx512::kKernels;
    }
#endif
    return runnable;
  }();
  return {list.kernels.data(), list.count};
}

const TileKernels& tile_kernels() {
  static const TileKernels& best = *runnable_tile_kernels().back();
  return best;
}

}  // namespace gca::kernels
