#include "kernels/sliding_window_attention/sliding_window_attention_versions.h"

namespace gca::kernels {

WindowForwardResult window_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                       const at::Tensor& slopes, int64_t window, double scale) {
  return window_forward_reference(q, k, v, slopes, window, scale);
}

WindowGradients window_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                    const at::Tensor& slopes, int64_t window, double scale) {
  return window_backward_reference(dout, q, k, v, out, lse, slopes, window, scale);
}

}  // namespace gca::kernels
