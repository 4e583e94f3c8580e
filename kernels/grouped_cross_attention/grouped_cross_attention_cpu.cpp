#include "kernels/grouped_cross_attention/grouped_cross_attention_versions.h"

namespace gca::kernels {

GcaForwardResult gca_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& idx, const at::Tensor& w, const GcaOptions& options) {
  return gca_forward_reference(q, k, v, idx, w, options);
}

GcaGradients gca_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const at::Tensor& idx, const at::Tensor& w,
                              const at::Tensor& lse, const GcaOptions& options) {
  return gca_backward_reference(dout, q, k, v, idx, w, lse, options);
}

}  // namespace gca::kernels
