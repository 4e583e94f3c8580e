#include "kernels/common/instruction_set.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels/common/implementation.h"

namespace gca::kernels {

// Each is defined in tile_kernels.cpp, bf16_tile_kernels.cpp, row_kernels.cpp, scan_kernels.cpp or
// int8_products.cpp, compiled with the flags of that instruction set (kernels/CMakeLists.txt).
namespace baseline {
extern const TileKernels kKernels;
extern const Bf16TileKernels kBf16Kernels;
extern const Int8Products kInt8Products;
extern const RowKernelSet kRowKernels;
extern const ScanKernelSet kScanKernels;
}  // namespace baseline
namespace amx_emulated {
extern const Bf16TileKernels kBf16Kernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const TileKernels kKernels;
extern const Bf16TileKernels kBf16Kernels;
extern const Int8Products kInt8Products;
extern const RowKernelSet kRowKernels;
extern const ScanKernelSet kScanKernels;
}  // namespace avx2
namespace avx512 {
extern const TileKernels kKernels;
extern const RowKernelSet kRowKernels;
extern const ScanKernelSet kScanKernels;
}  // namespace avx512
namespace avx512bf16 {
extern const TileKernels kKernels;
extern const Bf16TileKernels kBf16Kernels;
extern const Int8Products kInt8Products;
extern const RowKernelSet kRowKernels;
extern const ScanKernelSet kScanKernels;
}  // namespace avx512bf16
namespace amx {
extern const Bf16TileKernels kBf16Kernels;
}
#endif

namespace {

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

/// The processor has tile registers that multiply bf16, and the system lets this process use them. Linux
/// grants that on request, to the whole process, because tile registers make a thread's saved state 8 KiB
/// larger.
bool may_use_amx() {
#if defined(__linux__)
  constexpr unsigned kAmxBf16 = 1U << 22, kAmxTile = 1U << 24;  // leaf 7, register edx
  constexpr long kRequestPermission = 0x1023;                   // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;                                // XFEATURE_XTILEDATA
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((edx & kAmxBf16) == 0 || (edx & kAmxTile) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

std::vector<InstructionSet> find_runnable() {
  const InstructionSet plain = {"baseline",
                                &baseline::kKernels,
                                &baseline::kBf16Kernels,
                                &baseline::kRowKernels,
                                &baseline::kInt8Products,
                                &baseline::kScanKernels};
  InstructionSet emulated = plain;
  emulated.name = "amx-emulated";
  emulated.bf16_tile_kernels = &amx_emulated::kBf16Kernels;
  std::vector<InstructionSet> found = {emulated, plain};
#if defined(__x86_64__)
  if (has_avx2())
    found.push_back({"avx2", &avx2::kKernels, &avx2::kBf16Kernels, &avx2::kRowKernels, &avx2::kInt8Products,
                     &avx2::kScanKernels});
  if (has_avx512())
    found.push_back({"avx512", &avx512::kKernels, &avx2::kBf16Kernels, &avx512::kRowKernels,
                     &avx2::kInt8Products, &avx512::kScanKernels});
  if (has_avx512bf16()) {
    found.push_back({"avx512bf16", &avx512bf16::kKernels, &avx512bf16::kBf16Kernels, &avx512bf16::kRowKernels,
                     &avx512bf16::kInt8Products, &avx512bf16::kScanKernels});
    if (may_use_amx()) {
      found.push_back(found.back());
      found.back().name = "amx";
      found.back().bf16_tile_kernels = &amx::kBf16Kernels;
    }
  }
#endif
  return found;
}

const std::vector<InstructionSet>& runnable() {
  static const std::vector<InstructionSet> found = find_runnable();
  return found;
}

std::atomic<const InstructionSet*>& chosen() {
  static std::atomic<const InstructionSet*> one{&runnable().back()};
  return one;
}

/// One member of all runnable sets, each value once.
template <typename Kernels>
std::vector<const Kernels*> each_of(const Kernels* InstructionSet::*member) {
  std::vector<const Kernels*> kernels;
  for (const InstructionSet& set : runnable()) {
    if (std::find(kernels.begin(), kernels.end(), set.*member) == kernels.end())
      kernels.push_back(set.*member);
  }
  return kernels;
}

}  // namespace

std::span<const InstructionSet> runnable_instruction_sets() {
  return runnable();
}

const InstructionSet& instruction_set() {
  return *chosen().load(std::memory_order_relaxed);
}

void use_instruction_set(std::string_view name) {
  std::string names;
  for (const InstructionSet& set : runnable()) {
    if (set.name == name) {
      chosen().store(&set);
      return;
    }
    names += (names.empty() ? "" : ", ") + std::string(set.name);
  }
  throw std::invalid_argument("no instruction set '" + std::string(name) + "' here; this processor runs " +
                              names);
}

std::span<const TileKernels* const> runnable_tile_kernels() {
  static const auto kernels = each_of(&InstructionSet::tile_kernels);
  return kernels;
}

std::span<const Bf16TileKernels* const> runnable_bf16_tile_kernels() {
  static const auto kernels = each_of(&InstructionSet::bf16_tile_kernels);
  return kernels;
}

std::span<const Int8Products* const> runnable_int8_products() {
  static const auto kernels = each_of(&InstructionSet::int8_products);
  return kernels;
}

std::span<const RowKernelSet* const> runnable_row_kernels() {
  static const auto kernels = each_of(&InstructionSet::row_kernels);
  return kernels;
}

const TileKernels& tile_kernels() {
  return *instruction_set().tile_kernels;
}

const RowKernelSet& row_kernels() {
  return *instruction_set().row_kernels;
}

const ScanKernelSet& scan_kernels() {
  return *instruction_set().scan_kernels;
}

const Int8Products& int8_products() {
  return *instruction_set().int8_products;
}

const Bf16TileKernels* bf16_tile_kernels() {
  const Bf16TileKernels* const kernels = instruction_set().bf16_tile_kernels;
  return kernels->native || implementation() == Implementation::emulated ? kernels : nullptr;
}

}  // namespace gca::kernels
