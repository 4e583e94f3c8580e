#pragma once
// How much memory the tensors take that work makes: the work runs under a c10::DebugInfoGuard of the kind PROFILER_STATE.

#include <c10/core/Allocator.h>

#include <algorithm>
#include <cstdint>

namespace gca::train {

/// Bytes of tensors that are alive, as LibTorch's allocator tells them.
class AllocationWatch : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* /*data*/, int64_t size_bytes, size_t /*total*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    alive_bytes_ += size_bytes;  // negative when memory is given back
    peak_bytes_ = std::max(peak_bytes_, alive_bytes_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak_bytes() const { return peak_bytes_; }

 private:
  int64_t alive_bytes_ = 0;
  int64_t peak_bytes_ = 0;
};

}  // namespace gca::train
