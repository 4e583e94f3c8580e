// The contexts that one sees lie side by side before it in the flattened batch. So it is a text by itself,
// with those contexts as its past: the sliding window without slopes, as long as that.

#include "lib/model/backbones/fot/crossbatch_attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/model/layers/wide_type.h"

namespace gca::model {
namespace {

/// Positions of the flattened batch.
struct LocalContext {
  int64_t seen_from = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

std::vector<LocalContext> contexts_of(int64_t rows, int64_t length, const CrossbatchRange& range) {
  const int64_t n = range.local_context;
  const int64_t per_row = (length + n - 1) / n;
  const int64_t step =
      per_row > 1 ? (range.contexts + 1 + per_row - 2) / (per_row - 1) : 0;  // unused where a row has one
  std::vector<LocalContext> contexts;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t place = 0; place < per_row; ++place) {
      const auto number = static_cast<int64_t>(contexts.size());
      int64_t seen = std::min(range.contexts, number);
      if (range.stepping && per_row > 1) seen = std::min(seen, place * step);
      const int64_t begin = row * length + place * n;
      const int64_t end = row * length + std::min((place + 1) * n, length);
      contexts.push_back({seen > 0 ? contexts[static_cast<size_t>(number - seen)].begin : begin, begin, end});
    }
  }
  return contexts;
}

/// (B, T, H, dh) -> (1, B T, H, dh)
at::Tensor flattened(const at::Tensor& x) {
  return x.reshape({1, x.size(0) * x.size(1), x.size(2), x.size(3)});
}

at::Tensor rows_of(const at::Tensor& x, int64_t begin, int64_t end) {
  return x.narrow(1, begin, end - begin);
}

class CrossbatchFunction : public torch::autograd::Function<CrossbatchFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q_in,
                            const at::Tensor& k_in, const at::Tensor& v_in, int64_t local_context,
                            int64_t contexts, bool stepping, double scale) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const at::Tensor q = flattened(q_in);
    const at::Tensor k = flattened(k_in);
    const at::Tensor v = flattened(v_in);
    const at::ScalarType wide = wide_type(q);
    const at::Tensor slopes = at::zeros({q.size(2)}, q.options().dtype(wide));
    at::Tensor out = at::empty(q.sizes(), q.options());
    at::Tensor lse = at::empty({1, q.size(2), q.size(1)}, slopes.options());
    for (const LocalContext& one :
         contexts_of(q_in.size(0), q_in.size(1), {local_context, contexts, stepping})) {
      const auto [part, part_lse] = kernels::sliding_window_attention_forward(
          rows_of(q, one.begin, one.end), rows_of(k, one.seen_from, one.end),
          rows_of(v, one.seen_from, one.end), slopes, one.end - one.seen_from, scale);
      rows_of(out, one.begin, one.end).copy_(part);
      lse.narrow(2, one.begin, one.end - one.begin).copy_(part_lse);
    }
    context->save_for_backward({q, k, v, out, lse, slopes});
    context->saved_data["rows"] = q_in.size(0);
    context->saved_data["local_context"] = local_context;
    context->saved_data["contexts"] = contexts;
    context->saved_data["stepping"] = stepping;
    context->saved_data["scale"] = scale;
    return out.view(q_in.sizes());
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &lse = saved[4],
                     &slopes = saved[5];
    auto& data = context->saved_data;
    const int64_t rows = data["rows"].toInt();
    const CrossbatchRange range{data["local_context"].toInt(), data["contexts"].toInt(),
                                data["stepping"].toBool()};
    const at::Tensor dout = flattened(gradients[0]);
    at::Tensor dq = at::empty(q.sizes(), q.options());
    // Sums over contexts, wide.
    const at::Tensor dk = at::zeros(k.sizes(), slopes.options());
    const at::Tensor dv = at::zeros(v.sizes(), slopes.options());
    for (const LocalContext& one : contexts_of(rows, q.size(1) / rows, range)) {
      const auto own = [&](const at::Tensor& x) { return rows_of(x, one.begin, one.end); };
      const auto seen = [&](const at::Tensor& x) { return rows_of(x, one.seen_from, one.end); };
      const auto [part_q, part_k, part_v] = kernels::sliding_window_attention_backward(
          own(dout), own(q), seen(k), seen(v), own(out),
          lse.narrow(2, one.begin, one.end - one.begin).contiguous(), slopes, one.end - one.seen_from,
          data["scale"].toDouble());
      own(dq).copy_(part_q);
      seen(dk).add_(part_k);
      seen(dv).add_(part_v);
    }
    const auto shape = gradients[0].sizes();
    const at::Tensor none;
    return {dq.view(shape),
            dk.to(k.scalar_type()).view(shape),
            dv.to(v.scalar_type()).view(shape),
            none,
            none,
            none,
            none};
  }
};

}  // namespace

at::Tensor crossbatch_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const CrossbatchRange& range, double scale) {
  return CrossbatchFunction::apply(q, k, v, range.local_context, range.contexts, range.stepping, scale);
}

}  // namespace gca::model
