// Chooses among the versions that were compiled once an instruction set.
#include <array>

#include "kernels/common/bf16_tile_kernels.h"
#include "kernels/common/implementation.h"
#include "kernels/common/int8_products.h"
#include "kernels/common/row_kernels.h"
#include "kernels/common/tile_kernels.h"

namespace gca::kernels {

// Each is defined in tile_kernels.cpp, bf16_tile_kernels.cpp, row_kernels.cpp or int8_products.cpp, compiled
// with that instruction set.
namespace baseline {
extern const TileKernels kKernels;
extern const Bf16TileKernels kBf16Kernels;
extern const Int8Products kInt8Products;
extern const RowKernelSet kRowKernels;
}  // namespace baseline
#if defined(__x86_64__)
namespace avx2 {
extern const TileKernels kKernels;
extern const Bf16TileKernels kBf16Kernels;
extern const Int8Products kInt8Products;
extern const RowKernelSet kRowKernels;
}  // namespace avx2
namespace avx512 {
extern const TileKernels kKernels;
extern const RowKernelSet kRowKernels;
}  // namespace avx512
namespace avx512bf16 {
extern const TileKernels kKernels;
extern const Bf16TileKernels kBf16Kernels;
extern const Int8Products kInt8Products;
extern const RowKernelSet kRowKernels;
}  // namespace avx512bf16
#endif

namespace {

/// What this processor runs, the best last.
template <typename Kernels, size_t kMost>
struct Runnable {
  std::array<const Kernels*, kMost> kernels;
  size_t count = 0;

  void add(const Kernels& one) { kernels[count++] = &one; }
  std::span<const Kernels* const> list() const { return {kernels.data(), count}; }
};

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f");
}
bool has_avx512bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bf16");
}
#endif

}  // namespace

std::span<const TileKernels* const> runnable_tile_kernels() {
  static const auto runnable = [] {
    Runnable<TileKernels, 4> found;
    found.add(baseline::kKernels);
#if defined(__x86_64__)
    if (has_avx2()) found.add(avx2::kKernels);
    if (has_avx512()) found.add(avx512::kKernels);
    if (has_avx512bf16()) found.add(avx512bf16::kKernels);
#endif
    return found;
  }();
  return runnable.list();
}

std::span<const Bf16TileKernels* const> runnable_bf16_tile_kernels() {
  static const auto runnable = [] {
    Runnable<Bf16TileKernels, 3> found;
    found.add(baseline::kBf16Kernels);
#if defined(__x86_64__)
    if (has_avx2()) found.add(avx2::kBf16Kernels);
    if (has_avx512bf16()) found.add(avx512bf16::kBf16Kernels);
#endif
    return found;
  }();
  return runnable.list();
}

std::span<const Int8Products* const> runnable_int8_products() {
  static const auto runnable = [] {
    Runnable<Int8Products, 3> found;
    found.add(baseline::kInt8Products);
#if defined(__x86_64__)
    if (has_avx2()) found.add(avx2::kInt8Products);
    if (has_avx512bf16()) found.add(avx512bf16::kInt8Products);
#endif
    return found;
  }();
  return runnable.list();
}

std::span<const RowKernelSet* const> runnable_row_kernels() {
  static const auto runnable = [] {
    Runnable<RowKernelSet, 4> found;
    found.add(baseline::kRowKernels);
#if defined(__x86_64__)
    if (has_avx2()) found.add(avx2::kRowKernels);
    if (has_avx512()) found.add(avx512::kRowKernels);
    if (has_avx512bf16()) found.add(avx512bf16::kRowKernels);
#endif
    return found;
  }();
  return runnable.list();
}

const RowKernelSet& row_kernels() {
  static const RowKernelSet& best = *runnable_row_kernels().back();
  return best;
}

const Int8Products& int8_products() {
  static const Int8Products& best = *runnable_int8_products().back();
  return best;
}

const TileKernels& tile_kernels() {
  static const TileKernels& best = *runnable_tile_kernels().back();
  return best;
}

const Bf16TileKernels* bf16_tile_kernels() {
  static const Bf16TileKernels* const best = runnable_bf16_tile_kernels().back();
  return best->native || implementation() == Implementation::emulated ? best : nullptr;
}

}  // namespace gca::kernels
