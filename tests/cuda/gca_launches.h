#pragma once
// Runs the CUDA kernels of grouped cross-attention on the PTX machine, from and to row-major tensors. Device
// buffers lie in strided memory full of NaN, chunks that nobody reads are NaN, results begin undefined.

#include "tests/cuda/gca_reference.h"
#include "tests/ptx_machine/machine.h"

namespace gca::testing {

struct GcaRun {
  std::vector<double> out, lse, delta, dq, dk, dv,
      dw;  // as in GcaTruth; undefined entries of lse and delta are 0
  std::string reports;
  ptx::Counters counters;  // of all launches
};

/// Both passes from the truth's own lse (rounded to float), so that one kernel is tested at a time.
GcaRun run_gca_backward(const GcaProblem& problem, const GcaTruth& truth,
                        const ptx::RunOptions& options = {});
/// The kernels of the forward pass: mma.sync for all GPUs, wgmma for Hopper.
enum class GcaForwardVersion { sm80, sm90 };
/// Those that take a problem and run here.
std::vector<GcaForwardVersion> gca_forward_versions(const cuda::GcaShape& shape);
GcaRun run_gca_forward(const GcaProblem& problem, const ptx::RunOptions& options = {},
                       GcaForwardVersion version = GcaForwardVersion::sm80, bool with_lse = true);

}  // namespace gca::testing
