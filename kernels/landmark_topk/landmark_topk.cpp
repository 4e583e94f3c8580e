// Top K of a row of scores, then a softmax over K numbers. Bound by reading r once.
//   fast       one pass with a sorted list of the K best so far (K is small; most scores fail the first
//   comparison) reference  a stable sort of all candidates

#include "kernels/landmark_topk/landmark_topk.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/common/implementation.h"

namespace gca::kernels {
namespace {

template <class Scalar>
Scalar noisy_score(const Scalar* r, const Scalar* noise, int64_t c) {
  const Scalar score = noise == nullptr ? r[c] : r[c] + noise[c];
  return std::isnan(score) ? -std::numeric_limits<Scalar>::infinity() : score;
}

template <class Scalar>
void choose_by_sort(const Scalar* r, const Scalar* noise, int64_t candidates, int64_t K, int32_t* idx) {
  std::vector<int32_t> order(static_cast<size_t>(candidates));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return noisy_score(r, noise, a) > noisy_score(r, noise, b); });
  std::copy_n(order.begin(), std::min(candidates, K), idx);
}

template <class Scalar>
void choose_by_insertion(const Scalar* r, const Scalar* noise, int64_t candidates, int64_t K, int32_t* idx,
                         Scalar* best) {
  int64_t count = 0;
  for (int64_t c = 0; c < candidates; ++c) {
    const Scalar score = noisy_score(r, noise, c);
    if (count == K && !(score > best[K - 1])) continue;
    int64_t slot = count < K ? count++ : K - 1;
    for (; slot > 0 && score > best[slot - 1]; --slot) {
      best[slot] = best[slot - 1];
      idx[slot] = idx[slot - 1];
    }
    best[slot] = score;
    idx[slot] = static_cast<int32_t>(c);
  }
}

at::Tensor topk_cpu(const at::Tensor& r_in, const std::optional<at::Tensor>& noise_in, int64_t first_query,
                    int64_t K) {
  const at::Tensor r = r_in.contiguous();
  const at::Tensor noise = noise_in.has_value() ? noise_in->contiguous() : at::Tensor();
  const int64_t rows = r.size(0) * r.size(1);
  const int64_t R = r.size(1);
  const int64_t C = r.size(2);
  at::Tensor idx = at::full({r.size(0), R, K}, -1, at::kInt);
  auto* idx_data = idx.mutable_data_ptr<int32_t>();
  const bool by_sort = implementation() == Implementation::reference;
  AT_DISPATCH_FLOATING_TYPES(r.scalar_type(), "landmark_topk", [&] {
    const auto* r_data = r.const_data_ptr<scalar_t>();
    const auto* noise_data = noise.defined() ? noise.const_data_ptr<scalar_t>() : nullptr;
    at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
      std::vector<scalar_t> best(static_cast<size_t>(K));
      for (int64_t row = begin; row < end; ++row) {
        const int64_t candidates = std::clamp<int64_t>(first_query + row % R, 0, C);
        const scalar_t* row_noise = noise_data == nullptr ? nullptr : noise_data + row * C;
        if (by_sort)
          choose_by_sort(r_data + row * C, row_noise, candidates, K, idx_data + row * K);
        else
          choose_by_insertion(r_data + row * C, row_noise, candidates, K, idx_data + row * K, best.data());
      }
    });
  });
  return idx;
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def("landmark_topk(Tensor r, Tensor? noise, int first_query, int K) -> Tensor");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("landmark_topk", topk_cpu);
}

class RetrievalWeightsFunction : public torch::autograd::Function<RetrievalWeightsFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& r,
                            const at::Tensor& idx) {
    const at::Tensor absent = idx.lt(0);
    const at::Tensor slots = idx.clamp_min(0).to(at::kLong);
    const double nothing = -std::numeric_limits<double>::infinity();
    const at::Tensor chosen = r.gather(-1, slots).masked_fill(absent, nothing);
    // A row without any candidate is all -inf, whose softmax is NaN: it reads nothing, so its weights are 0.
    const at::Tensor weights = at::softmax(chosen, -1).masked_fill(absent, 0.0);
    context->save_for_backward({weights, slots});
    context->saved_data["C"] = r.size(-1);
    return weights;
  }

  /// dr = w (dw - sum_j w_j dw_j) at the chosen places, 0 elsewhere.
  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& weights = saved[0];
    const at::Tensor weighted = weights * gradients[0];
    const at::Tensor slots_gradient = weighted - weights * weighted.sum(-1, true);
    const int64_t C = context->saved_data["C"].toInt();
    const at::Tensor dr = at::zeros({weights.size(0), weights.size(1), C}, weights.options());
    return {dr.scatter_add(-1, saved[1], slots_gradient), at::Tensor()};
  }
};

}  // namespace

at::Tensor landmark_topk(const at::Tensor& r, const at::Tensor& noise, int64_t first_query, int64_t K) {
  TORCH_CHECK(r.dim() == 3 && K > 0, "landmark_topk: r is ", r.sizes(), ", K is ", K);
  TORCH_CHECK(!noise.defined() || (noise.sizes() == r.sizes() && noise.scalar_type() == r.scalar_type()),
              "landmark_topk: noise must have the shape and type of r");
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("gca::landmark_topk", "")
          .typed<at::Tensor(const at::Tensor&, const std::optional<at::Tensor>&, int64_t, int64_t)>();
  const std::optional<at::Tensor> optional_noise = noise.defined() ? std::optional(noise) : std::nullopt;
  return op.call(r.detach(), optional_noise, first_query, K);
}

at::Tensor retrieval_weights(const at::Tensor& r, const at::Tensor& idx) {
  TORCH_CHECK(r.dim() == 3 && idx.dim() == 3 && r.size(0) == idx.size(0) && r.size(1) == idx.size(1),
              "retrieval_weights: r is ", r.sizes(), ", idx is ", idx.sizes());
  return RetrievalWeightsFunction::apply(r, idx);
}

}  // namespace gca::kernels
