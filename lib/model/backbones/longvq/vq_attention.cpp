// Each part of the softmax is computed by itself and weighed by the logarithm of its sum; backward, each is
// given the common output and logarithm. The far keys of query i are all up to i - (W + 1): with the first
// W + 1 queries and the last W + 1 keys left out, they are causal attention over everything before.

#include "lib/model/backbones/longvq/vq_attention.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "kernels/nearest_code/nearest_code.h"
#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/model/backbones/longvq/code_blocks.h"
#include "lib/model/backbones/longvq/codebook.h"
#include "lib/model/layers/layer_caches.h"
#include "lib/model/layers/wide_type.h"

namespace gca::model {
namespace {

at::Tensor no_slopes(const at::Tensor& q) {
  return at::zeros({q.size(2)}, q.options().dtype(wide_type(q)));
}

/// A part of a softmax: out (B, n, H, dh) and lse (B, H, n).
struct Part {
  at::Tensor out, lse;
};

Part causal(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const auto [out, lse] =
      kernels::sliding_window_attention_forward(q, k, v, no_slopes(q), /*window=*/k.size(1), scale);
  return {out, lse};
}

/// Rows from `first` on of `part` become those of `part` and `other` as one softmax. part.out is wide.
void merge_rows(const Part& part, int64_t first, const Part& other) {
  const int64_t count = other.out.size(1);
  const at::Tensor out = part.out.narrow(1, first, count);
  const at::Tensor own_lse = part.lse.narrow(2, first, count);
  const at::Tensor lse = at::logaddexp(own_lse, other.lse);
  const auto share = [&](const at::Tensor& of_part) {
    return at::exp(of_part - lse).transpose(1, 2).unsqueeze(-1);
  };
  out.mul_(share(own_lse)).addcmul_(other.out.to(out.scalar_type()), share(other.lse));
  own_lse.copy_(lse);
}

/// Pair by pair: the gradient of a far score goes to the key.
class StraightThroughFunction : public torch::autograd::Function<StraightThroughFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, const at::Tensor& far_keys,
                            int64_t window, double scale) {
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
    early(dk).add_(far_dk);
    const at::Tensor none;
    return {dq, dk, dv, none, none, none};
  }
};

/// Scores (B, H, m, N) of codes, log n among them, for queries q (B, m, H, dh).
at::Tensor code_scores(const at::Tensor& q, const at::Tensor& codes, const FarKeys& far, double scale) {
  const at::Tensor by_head = q.transpose(1, 2).to(codes.scalar_type());
  return at::matmul(by_head, codes.transpose(1, 2)).mul_(scale).add_(at::log(far.count).unsqueeze(2));
}

/// The codes as one block of keys.
Part over_codes(const at::Tensor& q, const at::Tensor& codes, const FarKeys& far, double scale) {
  at::Tensor weights = code_scores(q, codes, far, scale);
  const at::Tensor largest = weights.amax(-1, /*keepdim=*/true);
  weights.sub_(largest).exp_();
  const at::Tensor total = weights.sum(-1, /*keepdim=*/true);
  const at::Tensor out = at::matmul(weights.div_(far.count.clamp_min(1).unsqueeze(2)), far.sum).div_(total);
  return {out.transpose(1, 2), (largest + at::log(total)).squeeze(-1)};
}

/// The far keys of a block's positions, as part of `all`: queries and results from position `first_query` on, keys
/// (B, m, H, dh) as products read them and values (B, m, H, dh) those that leave.
void read_block(const CodeBlock& block, int64_t first_query, const at::Tensor& q, const at::Tensor& codes,
                const at::Tensor& keys, const at::Tensor& values, const FarKeys& far, double scale,
                const Part& all) {
  if (block.reads_codes())
    merge_rows(
        all, block.begin - first_query,
        over_codes(q.narrow(1, block.begin - first_query, block.end - block.begin), codes, far, scale));
  const int64_t late = block.late_positions();
  if (late > 0)
    merge_rows(all, block.end - late - first_query,
               causal(q.narrow(1, block.end - late - first_query, late), keys.narrow(1, 0, late),
                      values.narrow(1, 0, late), scale));
}

/// Codes as products read them: rounded to the type of q, in the wide type.
at::Tensor rounded(const at::Tensor& codes, const at::Tensor& q) {
  return codes.to(q.scalar_type()).to(codes.scalar_type());
}

/// By the codes: scores of far keys have no gradient, and those of values are sums by code. Saves counts and sums once a
/// block.
class CodesFunction : public torch::autograd::Function<CodesFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, const at::Tensor& codes_in,
                            const at::Tensor& z, int64_t window, double scale) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const at::Tensor codes = rounded(codes_in, q);
    const at::Tensor far_keys = codewords(codes, z).to(q.scalar_type());
    const auto [near, lse] = kernels::sliding_window_attention_forward(q, k, v, no_slopes(q), window, scale);
    const Part all = {near.to(wide_type(q)), lse};
    FarKeys far;
    std::vector<at::Tensor> saved;  // counts and sums of each block
    for_each_code_block(0, q.size(1), window, [&](const CodeBlock& block) {
      const auto leaving = [&](const at::Tensor& x) {
        return x.narrow(1, block.leaving, block.left - block.leaving);
      };
      if (block.reads_codes()) saved.insert(saved.end(), {far.count.clone(), far.sum.clone()});
      read_block(block, 0, q, codes, leaving(far_keys), leaving(v), far, scale, all);
      far.add(leaving(z), leaving(v), codes.size(1));
    });
    const at::Tensor out = all.out.to(q.scalar_type());
    for (const at::Tensor& x : {q, k, v, codes, z, far_keys, out, lse}) saved.push_back(x);
    context->save_for_backward(saved);
    context->saved_data["window"] = window;
    context->saved_data["scale"] = scale;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    auto saved = context->get_saved_variables();
    const auto take = [&] {
      at::Tensor last = saved.back();
      saved.pop_back();
      return last;
    };
    const at::Tensor lse = take(), out = take(), far_keys = take(), z = take(), codes = take(), v = take(),
                     k = take(), q = take();
    const int64_t window = context->saved_data["window"].toInt();
    const double scale = context->saved_data["scale"].toDouble();
    const at::ScalarType wide = codes.scalar_type();
    const at::Tensor dout = gradients[0].contiguous();
    const at::Tensor slopes = no_slopes(q);
    const auto [dq_near, dk, dv_near] =
        kernels::sliding_window_attention_backward(dout, q, k, v, out, lse, slopes, window, scale);
    const at::Tensor dq = dq_near.to(wide), dv = dv_near.to(wide);
    const at::Tensor delta = (dout.to(wide) * out.to(wide)).sum(-1).transpose(1, 2).unsqueeze(-1);
    std::vector<CodeBlock> blocks;
    for_each_code_block(0, q.size(1), window, [&](const CodeBlock& block) { blocks.push_back(block); });
    // Of the sums of values by code, as all blocks after the current one read them.
    const at::Tensor dsum = at::zeros({q.size(0), q.size(2), codes.size(1), q.size(3)}, codes.options());
    for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
      const int64_t left = block->left - block->leaving;
      dv.narrow(1, block->leaving, left).add_(rows_by_code(dsum, z.narrow(1, block->leaving, left)));
      const int64_t late = block->late_positions();
      if (late > 0) {
        const auto queries = [&](const at::Tensor& x) { return x.narrow(1, block->end - late, late); };
        const auto keys = [&](const at::Tensor& x) { return x.narrow(1, block->leaving, late); };
        const auto [late_dq, late_dk, late_dv] = kernels::sliding_window_attention_backward(
            queries(dout), queries(q), keys(far_keys), keys(v), queries(out),
            lse.narrow(2, block->end - late, late).contiguous(), slopes, /*window=*/late, scale);
        queries(dq).add_(late_dq);
        keys(dv).add_(late_dv);
      }
      if (!block->reads_codes()) continue;
      const at::Tensor sum = take(), count = take();
      const int64_t size = block->end - block->begin;
      const at::Tensor p = at::exp(code_scores(q.narrow(1, block->begin, size), codes, {count, sum}, scale) -
                                   lse.narrow(2, block->begin, size).unsqueeze(-1));
      const at::Tensor inverse = 1 / count.clamp_min(1).unsqueeze(2);  // (B, H, 1, N)
      const at::Tensor d = dout.narrow(1, block->begin, size).transpose(1, 2).to(wide);
      const at::Tensor dp = at::matmul(d, sum.transpose(2, 3)) * inverse;
      const at::Tensor ds = p * (dp - delta.narrow(2, block->begin, size)) * scale;
      dq.narrow(1, block->begin, size).add_(at::matmul(ds, codes).transpose(1, 2));
      dsum.add_(at::matmul((p * inverse).transpose(2, 3), d));
    }
    const at::Tensor none;
    return {dq.to(q.scalar_type()), dk, dv.to(v.scalar_type()), none, none, none, none};
  }

 private:
  /// rows (B, H, N, dh) at z (B, m, H) -> (B, m, H, dh).
  static at::Tensor rows_by_code(const at::Tensor& rows, const at::Tensor& z) {
    const at::Tensor place = z.transpose(1, 2).unsqueeze(-1).expand({-1, -1, -1, rows.size(3)});
    return rows.gather(2, place).transpose(1, 2);
  }
};

}  // namespace

at::Tensor vq_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& codes, const at::Tensor& z, int64_t window, double scale,
                        bool straight_through) {
  if (q.size(1) <= window + 1) return kernels::sliding_window_attention(q, k, v, no_slopes(q), window, scale);
  if (!straight_through) return CodesFunction::apply(q, k, v, codes, z, window, scale);
  return StraightThroughFunction::apply(q, k, v, codewords(codes, z).to(q.scalar_type()), window, scale);
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
  const int64_t first_key = position + q.size(1) - k.size(1);
  const auto [near, lse] = kernels::sliding_window_attention_forward(q, k, v, no_slopes(q), window, scale);
  const Part all = {near.to(codes.scalar_type()), lse};
  const at::Tensor read = rounded(codes, q);
  for_each_code_block(position, q.size(1), window, [&](const CodeBlock& block) {
    const auto leaving = [&](const at::Tensor& x) {
      return x.narrow(1, block.leaving - first_key, block.left - block.leaving);
    };
    const at::Tensor z = kernels::nearest_code(leaving(k), codes);
    read_block(block, position, q, read, codewords(read, z).to(q.scalar_type()), leaving(v), far, scale, all);
    far.add(z, leaving(v), codes.size(1));
  });
  return all.out.to(q.scalar_type());
}

}  // namespace gca::model
