#pragma once

namespace gca::kernels {

/// True where the processor multiplies bf16 pairs itself (AVX-512 BF16); then bf16 is the faster compute
/// type.
inline bool cpu_multiplies_bf16() {
#if defined(__x86_64__)
  static const bool has_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
  return has_bf16;
#else
  return false;
#endif
}

}  // namespace gca::kernels
