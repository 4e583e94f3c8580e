// Each part of the softmax is computed by itself and weighed by the logarithm of its sum; backward, each is
// given the common output and logarithm. The far keys of query i are all up to i - (W + 1): with the first
// W + 1 queries and the last W + 1 keys left out, they are causal attention over everything before.

#include "lib/model/backbones/longvq/vq_attention.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <tuple>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/model/backbones/longvq/codebook.h"
#include "lib/model/backbones/longvq/longvq_kind.h"
#include "lib/model/layers/layer_caches.h"

namespace gca::model {
namespace {

at::ScalarType wide_type(const at::Tensor& q) {
  return q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor no_slopes(const at::Tensor& q) {
  return at::zeros({q.size(2)}, q.options().dtype(wide_type(q)));
}

/// A part of a softmax: out (B, n, H, dh) and lse (B, H, n).
struct Part {
  at::Tensor out, lse;
};

/// Both parts as one softmax; out in the wide type.
Part merged(const Part& a, const Part& b) {
  const at::Tensor lse = at::logaddexp(a.lse, b.lse);
  const auto weighed = [&](const Part& part) {
    return part.out.to(lse.scalar_type()) * at::exp(part.lse - lse).transpose(1, 2).unsqueeze(-1);
  };
  return {weighed(a) + weighed(b), lse};
}

Part causal(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const auto [out, lse] =
      kernels::sliding_window_attention_forward(q, k, v, no_slopes(q), /*window=*/k.size(1), scale);
  return {out, lse};
}

/// Rows from `first` on of `part` become those of `part` and `other` as one softmax. part.out is wide.
void merge_rows(const Part& part, int64_t first, const Part& other) {
  const int64_t count = other.out.size(1);
  const Part own = {part.out.narrow(1, first, count), part.lse.narrow(2, first, count)};
  const Part both = merged(own, other);
  own.out.copy_(both.out);
  own.lse.copy_(both.lse);
}

class VqAttentionFunction : public torch::autograd::Function<VqAttentionFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, const at::Tensor& far_keys,
                            int64_t window, double scale, bool straight_through) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const int64_t skipped = window + 1;
    const int64_t rows = q.size(1) - skipped;
    const auto [near, lse] = kernels::sliding_window_attention_forward(q, k, v, no_slopes(q), window, scale);
    const Part all = {near.to(wide_type(q)), lse};
    merge_rows(all, skipped,
               causal(q.narrow(1, skipped, rows), far_keys.narrow(1, 0, rows), v.narrow(1, 0, rows), scale));
    const at::Tensor out = all.out.to(q.scalar_type());
    context->save_for_backward({q, k, v, far_keys, out, lse});
    context->saved_data["window"] = window;
    context->saved_data["scale"] = scale;
    context->saved_data["straight_through"] = straight_through;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &far_keys = saved[3], &out = saved[4],
                     &lse = saved[5];
    const int64_t window = context->saved_data["window"].toInt();
    const double scale = context->saved_data["scale"].toDouble();
    const int64_t skipped = window + 1;
    const int64_t rows = q.size(1) - skipped;
    const at::Tensor dout = gradients[0].contiguous();
    const at::Tensor slopes = no_slopes(q);
    const auto [dq, dk, dv] =
        kernels::sliding_window_attention_backward(dout, q, k, v, out, lse, slopes, window, scale);
    const auto late = [&](const at::Tensor& x) { return x.narrow(1, skipped, rows); };
    const auto early = [&](const at::Tensor& x) { return x.narrow(1, 0, rows); };
    const auto [far_dq, far_dk, far_dv] = kernels::sliding_window_attention_backward(
        late(dout), late(q), early(far_keys), early(v), late(out), lse.narrow(2, skipped, rows).contiguous(),
        slopes, /*window=*/rows, scale);
    late(dq).add_(far_dq);
    early(dv).add_(far_dv);
    if (context->saved_data["straight_through"].toBool()) early(dk).add_(far_dk);
    const at::Tensor none;
    return {dq, dk, dv, none, none, none, none};
  }
};

/// The codes as one block of keys, of queries q (B, m, H, dh).
Part over_codes(const at::Tensor& q, const at::Tensor& codes, const FarKeys& far, double scale) {
  const at::Tensor by_head = q.transpose(1, 2).to(codes.scalar_type());  // (B, H, m, dh)
  const at::Tensor scores =
      at::matmul(by_head, codes.transpose(1, 2)).mul_(scale).add_(at::log(far.count).unsqueeze(2));
  const at::Tensor lse = at::logsumexp(scores, -1);
  const at::Tensor p = at::exp(scores - lse.unsqueeze(-1)) / far.count.clamp_min(1).unsqueeze(2);
  return {at::matmul(p, far.sum).transpose(1, 2), lse};
}

}  // namespace

at::Tensor vq_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& far_keys, int64_t window, double scale, bool straight_through) {
  if (q.size(1) <= window + 1) return kernels::sliding_window_attention(q, k, v, no_slopes(q), window, scale);
  return VqAttentionFunction::apply(q, k, v, far_keys, window, scale, straight_through);
}

int64_t FarKeys::size_bytes() const {
  return gca::model::size_bytes(count) + gca::model::size_bytes(sum);
}

void FarKeys::add(const at::Tensor& z, const at::Tensor& v, int64_t code_count) {
  const int64_t B = v.size(0), m = v.size(1), H = v.size(2), dh = v.size(3);
  const at::Tensor values = v.to(wide_type(v)).contiguous();
  const at::Tensor numbers = z.contiguous();
  if (!count.defined()) {
    count = at::zeros({B, H, code_count}, values.options());
    sum = at::zeros({B, H, code_count, dh}, values.options());
  }
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "add_far_keys", [&] {
    const auto* from = values.const_data_ptr<scalar_t>();
    const auto* code_of = numbers.const_data_ptr<int64_t>();
    auto* n = count.mutable_data_ptr<scalar_t>();
    auto* u = sum.mutable_data_ptr<scalar_t>();
    for (int64_t b = 0; b < B; ++b)
      for (int64_t t = 0; t < m; ++t)
        for (int64_t h = 0; h < H; ++h, from += dh, ++code_of) {
          const int64_t code = (b * H + h) * code_count + *code_of;
          n[code] += 1;
          for (int64_t e = 0; e < dh; ++e) u[code * dh + e] += from[e];
        }
  });
}

at::Tensor read_codes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& codes,
                      int64_t position, int64_t window, double scale, FarKeys& far) {
  const int64_t n = q.size(1);
  const int64_t first_key = position + n - k.size(1);
  const auto [near, lse] = kernels::sliding_window_attention_forward(q, k, v, no_slopes(q), window, scale);
  const Part all = {near.to(codes.scalar_type()), lse};
  // What products read of the codes, here as in training.
  const at::Tensor rounded = codes.to(q.scalar_type());
  for (int64_t begin = position; begin < position + n; begin += kCodePositions) {
    const int64_t end = std::min(position + n, begin + kCodePositions);
    const int64_t leaving = std::max<int64_t>(0, begin - window);  // the first key that is not in `far`
    const int64_t left = end - window;                             // nor is this one, afterwards
    if (leaving > 0)
      merge_rows(all, begin - position,
                 over_codes(q.narrow(1, begin - position, end - begin), rounded.to(codes.scalar_type()), far,
                            scale));
    if (left <= leaving) continue;
    const at::Tensor keys = k.narrow(1, leaving - first_key, left - leaving);
    const at::Tensor values = v.narrow(1, leaving - first_key, left - leaving);
    const at::Tensor z = nearest_codes(keys, codes);
    const int64_t count = left - leaving - 1;  // of queries that see some of these, and of keys that they see
    if (count > 0)
      merge_rows(all, end - count - position,
                 causal(q.narrow(1, end - count - position, count), codewords(rounded, z.narrow(1, 0, count)),
                        values.narrow(1, 0, count), scale));
    far.add(z, values, codes.size(1));
  }
  return all.out.to(q.scalar_type());
}

}  // namespace gca::model
