#include "lib/model/backbones/rmt/memory_segment_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "kernels/sliding_window_attention/sliding_window_attention.h"

namespace gca::model {
namespace {

/// (B, n, H, dh) -> (B, H, n, dh), in `type`.
at::Tensor by_head(const at::Tensor& rows, at::ScalarType type) {
  return rows.transpose(1, 2).to(type);
}

/// Text positions: one softmax over the window and the memory. Each part is computed by itself and weighed by
/// the logarithm of its sum; backward, each is given the common output and logarithm.
class WindowAndMemoryFunction : public torch::autograd::Function<WindowAndMemoryFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, const at::Tensor& memory_keys,
                            const at::Tensor& memory_values, const at::Tensor& slopes, int64_t window,
                            double scale) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const at::ScalarType wide = slopes.scalar_type();
    const auto [near, near_lse] = kernels::sliding_window_attention_forward(q, k, v, slopes, window, scale);
    const at::Tensor scores =
        at::matmul(by_head(q, wide), by_head(memory_keys, wide).transpose(2, 3)).mul_(scale);  // (B, H, n, M)
    const at::Tensor lse = at::logaddexp(near_lse, at::logsumexp(scores, -1));                 // (B, H, n)
    const at::Tensor p = at::exp(scores - lse.unsqueeze(-1));
    const at::Tensor share = at::exp(near_lse - lse).unsqueeze(-1);
    const at::Tensor out = (by_head(near, wide) * share + at::matmul(p, by_head(memory_values, wide)))
                               .transpose(1, 2)
                               .to(q.scalar_type())
                               .contiguous();
    context->save_for_backward({q, k, v, memory_keys, memory_values, slopes, out, lse, p});
    context->saved_data["window"] = window;
    context->saved_data["scale"] = scale;
    return out;
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &memory_keys = saved[3], &memory_values = saved[4], &slopes = saved[5],
                     &out = saved[6], &p = saved[8];
    const double scale = context->saved_data["scale"].toDouble();
    const at::Tensor dout = gradients[0].contiguous();
    const auto [dq, dk, dv] = kernels::sliding_window_attention_backward(
        dout, q, saved[1], saved[2], out, saved[7], slopes, context->saved_data["window"].toInt(), scale);
    const at::ScalarType type = q.scalar_type();
    const at::ScalarType wide = slopes.scalar_type();
    const at::Tensor d = by_head(dout, wide);
    const at::Tensor delta = (d * by_head(out, wide)).sum(-1, /*keepdim=*/true);
    const at::Tensor dp = at::matmul(d, by_head(memory_values, wide).transpose(2, 3));
    const at::Tensor ds = p * (dp - delta) * scale;
    const auto as_rows = [&](const at::Tensor& x) { return x.transpose(1, 2).to(type); };
    const at::Tensor none;
    return {(by_head(dq, wide) + at::matmul(ds, by_head(memory_keys, wide))).transpose(1, 2).to(type),
            dk,
            dv,
            as_rows(at::matmul(ds.transpose(2, 3), by_head(q, wide))),
            as_rows(at::matmul(p.transpose(2, 3), d)),
            none,
            none,
            none};
  }
};

/// Causal attention over all keys, without bias.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const at::Tensor& slopes, double scale) {
  return kernels::sliding_window_attention(q, k, v, at::zeros_like(slopes), k.size(1), scale);
}

at::Tensor after(const at::Tensor& earlier, const at::Tensor& rows) {
  return earlier.size(1) > 0 ? at::cat({earlier, rows}, 1) : rows;
}

}  // namespace

SegmentRows rows_of_part(const Qkv& rows, const SegmentPart& part) {
  return {rows.k.narrow(1, 0, part.reading), rows.v.narrow(1, 0, part.reading),
          rows.k.narrow(1, part.reading, part.text), rows.v.narrow(1, part.reading, part.text)};
}

at::Tensor memory_segment_attention(const Qkv& rows, const SegmentPart& part, const SegmentRows& seen,
                                    const at::Tensor& slopes, int64_t window, double scale) {
  std::vector<at::Tensor> outs;
  if (part.reading > 0)
    outs.push_back(plain_attention(rows.q.narrow(1, 0, part.reading), seen.memory_keys, seen.memory_values,
                                   slopes, scale));
  if (part.text > 0) {
    const at::Tensor q = rows.q.narrow(1, part.reading, part.text);
    outs.push_back(
        seen.memory_keys.size(1) > 0
            ? WindowAndMemoryFunction::apply(q, seen.text_keys, seen.text_values, seen.memory_keys,
                                             seen.memory_values, slopes, window, scale)
            : kernels::sliding_window_attention(q, seen.text_keys, seen.text_values, slopes, window, scale));
  }
  if (part.writing > 0) {
    const int64_t first = part.reading + part.text;
    const auto all = [&](const at::Tensor& memory, const at::Tensor& text, const at::Tensor& own) {
      return after(memory, after(text, own.narrow(1, first, part.writing)));
    };
    outs.push_back(plain_attention(rows.q.narrow(1, first, part.writing),
                                   all(seen.memory_keys, seen.text_keys, rows.k),
                                   all(seen.memory_values, seen.text_values, rows.v), slopes, scale));
  }
  return outs.size() == 1 ? outs.front() : at::cat(outs, 1);
}

}  // namespace gca::model
