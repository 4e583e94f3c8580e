#pragma once
// The versions of the selective scan behind the operator, one signature. Arguments have been checked, and all
// tensors are contiguous.

#include "kernels/selective_scan/selective_scan.h"

namespace gca::kernels {

/// Positions of a chunk.
constexpr int64_t kScanChunk = 32;

struct ScanForwardResult {
  at::Tensor out;      ///< (B, L, channels), type of u
  at::Tensor state;    ///< (B, N, channels) after the last position
  at::Tensor borders;  ///< (B, chunks, N, channels): the state that each chunk begins with; undefined where
                       ///< it was not asked for
};

struct ScanBackwardResult {
  at::Tensor du, ddelta, dz, db, dc, da_log, dd, ddelta_bias;
};

/// float32, bfloat16 and double.
ScanForwardResult selective_scan_forward_reference(const SelectiveScanInputs& in, const at::Tensor& state,
                                                   bool keeps_borders);
/// Of a scan from zeros; it walks through the states by itself.
ScanBackwardResult selective_scan_backward_reference(const at::Tensor& dout, const SelectiveScanInputs& in);

/// float32 and bfloat16.
ScanForwardResult selective_scan_forward_cpu(const SelectiveScanInputs& in, const at::Tensor& state,
                                             bool keeps_borders);
ScanBackwardResult selective_scan_backward_cpu(const at::Tensor& dout, const SelectiveScanInputs& in,
                                               const at::Tensor& borders);

}  // namespace gca::kernels
