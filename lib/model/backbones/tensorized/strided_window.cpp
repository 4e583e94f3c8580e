#include "lib/model/backbones/tensorized/strided_window.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>

#include <algorithm>

#include "kernels/sliding_window_attention/sliding_window_attention.h"

namespace gca::model {
namespace {

/// Rows (B, N, H, dh) with zeros before and behind -> (B * stride, rows of a class, H, dh): a row of the
/// batch for each residue class.
at::Tensor by_residue_class(const at::Tensor& rows, int64_t stride, int64_t before, int64_t behind) {
  const at::Tensor padded =
      before + behind > 0 ? at::constant_pad_nd(rows, {0, 0, 0, 0, before, behind}) : rows;
  const int64_t H = rows.size(2);
  const int64_t dh = rows.size(3);
  return padded.reshape({rows.size(0), -1, stride, H, dh})
      .transpose(1, 2)
      .reshape({rows.size(0) * stride, -1, H, dh});
}

/// Every class as a text of its own. Padding before the queries belongs to positions whose result is known;
/// padding behind is later than every position, so none sees it.
at::Tensor all_classes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const at::Tensor& slopes, int64_t window, int64_t stride, double scale) {
  const int64_t B = q.size(0);
  const int64_t n = q.size(1);
  const int64_t before = (k.size(1) - n) % stride;
  const int64_t behind = (stride - k.size(1) % stride) % stride;
  const at::Tensor out = kernels::sliding_window_attention(
      by_residue_class(q, stride, before, behind), by_residue_class(k, stride, 0, behind),
      by_residue_class(v, stride, 0, behind), slopes, window, scale);
  return out.view({B, stride, -1, q.size(2), q.size(3)})
      .transpose(1, 2)
      .reshape({B, -1, q.size(2), q.size(3)})
      .narrow(1, before, n);
}

/// Fewer positions than classes: each is a query alone, with its own class's keys. Those with as many keys
/// run together.
at::Tensor few_positions(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& slopes, int64_t window, int64_t stride, double scale) {
  const int64_t n = q.size(1);
  const int64_t past = k.size(1) - n;
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < n;) {
    const int64_t end = std::min(n, (past + begin) / stride * stride + stride - past);
    const int64_t count = end - begin;
    const int64_t reach = std::min((past + begin) / stride, window) * stride;
    const auto keys_of_each = [&](const at::Tensor& rows) {
      return rows.narrow(1, past + begin - reach, reach + count)
          .unfold(1, reach + 1, 1)  // (B, count, H, dh, reach + 1)
          .slice(4, 0, reach + 1, stride)
          .permute({0, 1, 4, 2, 3})
          .flatten(0, 1);  // (B * count, keys, H, dh)
    };
    const at::Tensor queries = q.narrow(1, begin, count).reshape({-1, 1, q.size(2), q.size(3)});
    parts.push_back(
        kernels::sliding_window_attention(queries, keys_of_each(k), keys_of_each(v), slopes, window, scale)
            .view({q.size(0), count, q.size(2), q.size(3)}));
    begin = end;
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
}

}  // namespace

at::Tensor strided_window(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& slopes, int64_t steps, int64_t stride, double scale) {
  const int64_t window = steps > 0 ? steps - 1 : k.size(1);
  if (stride == 1) return kernels::sliding_window_attention(q, k, v, slopes, window, scale);
  return q.size(1) >= stride ? all_classes(q, k, v, slopes, window, stride, scale)
                             : few_positions(q, k, v, slopes, window, stride, scale);
}

at::Tensor tensorized_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const at::Tensor& slopes, const std::vector<int64_t>& fold, double scale) {
  at::Tensor found = v;
  int64_t stride = 1;
  for (const int64_t steps : fold) {
    found = strided_window(q, k, found, slopes, steps, stride, scale);
    stride *= steps;
  }
  return found;
}

}  // namespace gca::model
