#pragma once
// Subnormal numbers count as zero while this lives, in this thread. Intel processors take some hundred cycles
// for an operation with a subnormal operand or result, and attention makes many: exp(-90) and what is
// multiplied with it. The instructions that multiply bf16 flush them in any case.

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace gca::kernels {

class FlushSubnormals {
 public:
#if defined(__SSE2__)
  FlushSubnormals() {
    _mm_setcsr(previous_ | kFlushResults | kFlushOperands);
  }
  ~FlushSubnormals() {
    _mm_setcsr(previous_);
  }
#else
  FlushSubnormals() {}
  ~FlushSubnormals() {}
#endif
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
#if defined(__SSE2__)
  static constexpr unsigned kFlushResults = 0x8000, kFlushOperands = 0x0040;  // bits FTZ and DAZ of MXCSR
  unsigned previous_ = _mm_getcsr();
#endif
};

}  // namespace gca::kernels
