#include "lib/model/layers/weight.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

namespace gca::model {

WeightBuilder::WeightBuilder(at::ScalarType compute_dtype, at::Device device, WeightDtype weight_dtype,
                             Masters masters)
    : compute_dtype_(compute_dtype), device_(device), weight_dtype_(weight_dtype), masters_(masters) {
  TORCH_CHECK(weight_dtype == WeightDtype::compute || (device.is_cpu() && compute_dtype != at::kDouble),
              "int8 weights are for float32 and bf16 on the CPU");
}

Weight WeightBuilder::matrix(const std::string& name, int64_t out, int64_t in, const WeightRules& rules) {
  Weight weight;
  weight.rules = rules;
  weight.name = name;
  weight.group = group_;
  weight.compute_dtype = compute_dtype_;
  if (masters_ == Masters::none && weight_dtype_ == WeightDtype::compute) {
    weight.master = at::zeros({out, in}, options(compute_dtype_));
    weight.compute = weight.master;
    weights_.push_back(weight);
    return weight;
  }
  weight.master = at::zeros({out, in}, options(master_dtype())).requires_grad_();
  if (weight_dtype_ == WeightDtype::int8)
    weight.int8 = kernels::make_int8_weight(out, in);
  else if (compute_dtype_ == master_dtype())
    weight.compute = weight.master;
  else
    weight.compute = at::zeros({out, in}, options(compute_dtype_));
  weights_.push_back(weight);
  return weight;
}

Weight WeightBuilder::norm(const std::string& name, int64_t d) {
  return in_master_type(name, at::ones({d}, options(master_dtype())));
}

Weight WeightBuilder::vectors(const std::string& name, int64_t count, int64_t d) {
  return in_master_type(name, at::zeros({count, d}, options(master_dtype())));
}

Weight WeightBuilder::parameter(const std::string& name, at::IntArrayRef shape, const WeightRules& rules) {
  return in_master_type(name, at::zeros(shape, options(master_dtype())), rules);
}

Weight WeightBuilder::in_master_type(const std::string& name, const at::Tensor& values,
                                     const WeightRules& rules) {
  Weight weight;
  weight.rules = rules;
  weight.name = name;
  weight.group = group_;
  weight.master = rules.trained ? values.requires_grad_() : values;
  weight.compute = weight.master;
  weight.compute_dtype = master_dtype();
  weights_.push_back(weight);
  return weight;
}

Weight WeightBuilder::bias(const std::string& name, int64_t out) {
  Weight weight;
  weight.name = name;
  weight.group = group_;
  weight.master = at::zeros({out}, options(master_dtype())).requires_grad_();
  weight.compute = weight.master;
  weight.compute_dtype = master_dtype();
  weights_.push_back(weight);
  return weight;
}

}  // namespace gca::model
