#pragma once
// The weights of a model and how modules claim them.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/common/philox.h"
#include "kernels/linear/int8_weight.h"

namespace gca::model {

/// Part of the model that a weight belongs to: each has a factor on the learning rate of its own.
enum class WeightGroup { embedding, lower, encoder, memory, upper };

/// What products read of a matrix: a copy in the compute type, or whole numbers with one scale per row, for a
/// model that is not trained.
enum class WeightDtype { compute, int8 };

/// Whether a model keeps what is trained beside what products read. Without masters the copy in the compute
/// type is all there is: for a model that is only run.
enum class Masters { kept, none };

/// What a value of a weight is before training: of its place in the weight, row by row, and of random words of
/// its own.
using StartValue = std::function<double(int64_t place, const PhiloxBlock& random)>;

/// What a weight has of its own where it is not like others.
struct WeightRules {
  StartValue start = {};  ///< empty: as initialise() draws matrices and sets vectors
  bool decays = true;     ///< weight decay pulls at it
  bool trained = true;    ///< false: no gradient moves it, Backbone::end_step() does; no parameter
};

/// A weight: the fp32 master that is trained, and what products read (the master itself when the compute type
/// is its own). A cheap handle: copies share the tensors.
struct Weight {
  std::string name;    ///< as in model.safetensors, e.g. "lower.0.attn.wq"
  at::Tensor master;   ///< float32 (float64 in tests), requires_grad; `compute` itself with Masters::none
  at::Tensor compute;  ///< compute type for matrices and the embedding; the master itself for norms
  kernels::Int8Weight int8;  ///< of matrices and the embedding with WeightDtype::int8, instead of `compute`
  at::ScalarType compute_dtype = at::kFloat;  ///< of what is multiplied by it
  WeightGroup group = WeightGroup::upper;
  WeightRules rules = {};
};

/// Collects the weights of a model in the order in which its modules claim them.
class WeightBuilder {
 public:
  /// WeightDtype::int8: on the CPU, float32 or bf16; its masters are kept.
  WeightBuilder(at::ScalarType compute_dtype, at::Device device,
                WeightDtype weight_dtype = WeightDtype::compute, Masters masters = Masters::kept);

  /// What is claimed from now on belongs to `group`.
  void begin_group(WeightGroup group) { group_ = group; }

  /// (out, in): y = x W^T.
  Weight matrix(const std::string& name, int64_t out, int64_t in, const WeightRules& rules = {});
  /// (d), used in the master's type.
  Weight norm(const std::string& name, int64_t d);
  /// (count, d): vectors of the residual stream, used in the master's type.
  Weight vectors(const std::string& name, int64_t count, int64_t d);
  /// (out), used in the master's type. Its name ends in "_bias".
  Weight bias(const std::string& name, int64_t out);
  /// Of any shape, used in the master's type.
  Weight parameter(const std::string& name, at::IntArrayRef shape, const WeightRules& rules);

  at::ScalarType compute_dtype() const { return compute_dtype_; }
  at::Device device() const { return device_; }
  /// Type of masters, of the residual stream and of statistics.
  at::ScalarType master_dtype() const { return compute_dtype_ == at::kDouble ? at::kDouble : at::kFloat; }
  std::vector<Weight> take() { return std::move(weights_); }

 private:
  Weight in_master_type(const std::string& name, const at::Tensor& values, const WeightRules& rules = {});
  at::TensorOptions options(at::ScalarType type) const { return at::TensorOptions(type).device(device_); }

  at::ScalarType compute_dtype_;
  at::Device device_;
  WeightDtype weight_dtype_;
  Masters masters_;
  WeightGroup group_ = WeightGroup::upper;
  std::vector<Weight> weights_;
};

}  // namespace gca::model
