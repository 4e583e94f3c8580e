#include "lib/model/layers/weight.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

namespace gca::model {

Weight WeightBuilder::matrix(const std::string& name, int64_t out, int64_t in) {
  Weight weight;
  weight.name = name;
  weight.group = group_;
  weight.master = at::zeros({out, in}, options(master_dtype())).requires_grad_();
  weight.compute =
      compute_dtype_ == master_dtype() ? weight.master : at::zeros({out, in}, options(compute_dtype_));
  weights_.push_back(weight);
  return weight;
}

Weight WeightBuilder::norm(const std::string& name, int64_t d) {
  Weight weight;
  weight.name = name;
  weight.group = group_;
  weight.master = at::ones({d}, options(master_dtype())).requires_grad_();
  weight.compute = weight.master;
  weights_.push_back(weight);
  return weight;
}

}  // namespace gca::model
