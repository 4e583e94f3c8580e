#pragma once
// The weights of a model and how modules claim them.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace gca::model {

/// Part of the model that a weight belongs to: each has a factor on the learning rate of its own.
enum class WeightGroup { embedding, lower, encoder, memory, upper };

/// A weight: the fp32 master that is trained, and the copy that products read (the same tensor when the
/// compute type is the master's). A cheap handle: copies share both tensors.
struct Weight {
  std::string name;    ///< as in model.safetensors, e.g. "lower.0.attn.wq"
  at::Tensor master;   ///< float32 (float64 in tests), requires_grad
  at::Tensor compute;  ///< compute type for matrices and the embedding; the master itself for norms
  WeightGroup group = WeightGroup::upper;
};

/// Collects the weights of a model in the order in which its modules claim them.
class WeightBuilder {
 public:
  WeightBuilder(at::ScalarType compute_dtype, at::Device device)
      : compute_dtype_(compute_dtype), device_(device) {}

  /// What is claimed from now on belongs to `group`.
  void begin_group(WeightGroup group) { group_ = group; }

  /// (out, in): y = x W^T.
  Weight matrix(const std::string& name, int64_t out, int64_t in);
  /// (d), used in the master's type.
  Weight norm(const std::string& name, int64_t d);

  at::ScalarType compute_dtype() const { return compute_dtype_; }
  at::Device device() const { return device_; }
  /// Type of masters, of the residual stream and of statistics.
  at::ScalarType master_dtype() const { return compute_dtype_ == at::kDouble ? at::kDouble : at::kFloat; }
  std::vector<Weight> take() { return std::move(weights_); }

 private:
  at::TensorOptions options(at::ScalarType type) const { return at::TensorOptions(type).device(device_); }

  at::ScalarType compute_dtype_;
  at::Device device_;
  WeightGroup group_ = WeightGroup::upper;
  std::vector<Weight> weights_;
};

}  // namespace gca::model
