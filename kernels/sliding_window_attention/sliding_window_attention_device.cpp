// Sliding-window attention on a device: tensors to the kernels of sliding_window_attention_cuda.h.
#include <torch/library.h>

#include <algorithm>

#include "kernels/common/cuda/device_tensor.h"
#include "kernels/sliding_window_attention/sliding_window_attention_checks.h"
#include "kernels/sliding_window_attention/sliding_window_attention_cuda.h"

namespace gca::cuda {
namespace {

constexpr auto kName = "sliding_window_attention";

WindowShape shape_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& slopes,
                     int64_t window, double scale) {
  kernels::check_window_arguments(q, k, v, slopes, window);
  const int64_t dh = q.size(3);
  TORCH_CHECK(dh == 32 || dh == 64 || dh == 128, kName, ": on a GPU head_dim is 32, 64 or 128, got ", dh);
  WindowShape shape;
  shape.batch = to_int32(q.size(0));
  shape.positions = to_int32(q.size(1));
  shape.past = to_int32(k.size(1) - q.size(1));
  shape.heads = to_int32(q.size(2));
  shape.head_dim = to_int32(dh);
  // No window is longer than the text: the kernels count positions in 32 bits.
  shape.window = to_int32(std::min(window, k.size(1)));
  shape.scale = static_cast<float>(scale);
  return shape;
}

WindowStrides strides_of(const at::Tensor& q) {
  return {q.stride(0), q.stride(1), q.stride(2)};
}

/// What the arguments of all kernels have in common.
template <class Params>
Params params_of(const WindowShape& shape, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const at::Tensor& slopes) {
  Params p;
  p.shape = shape;
  p.q = bf16_data(q);
  p.k = bf16_data(k);
  p.v = bf16_data(v);
  p.slopes = slopes.const_data_ptr<float>();
  p.q_strides = strides_of(q);
  p.k_strides = strides_of(k);
  p.v_strides = strides_of(v);
  return p;
}

at::Tensor run_forward(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in,
                       const at::Tensor& slopes_in, const WindowShape& shape, const at::Tensor& lse) {
  const at::Tensor q = with_aligned_rows(q_in);
  const at::Tensor k = with_aligned_rows(k_in);
  const at::Tensor v = with_aligned_rows(v_in);
  const at::Tensor slopes = slopes_in.contiguous();
  at::Tensor out = at::empty(q.sizes(), q.options());
  auto p = params_of<WindowForwardParams>(shape, q, k, v, slopes);
  p.out = bf16_result(out);
  p.out_strides = strides_of(out);
  if (lse.defined()) p.lse = lse.mutable_data_ptr<float>();
  check_launch(launch_window_forward(p, current_stream()), kName);
  return out;
}

/// One position: the window's keys split over blocks. Rows lie in order: a ring that begins at row 0.
at::Tensor decode(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in,
                  const at::Tensor& slopes_in, const WindowShape& shape) {
  const at::Tensor q = with_aligned_rows(q_in);
  const at::Tensor k = with_aligned_rows(k_in);
  const at::Tensor v = with_aligned_rows(v_in);
  const at::Tensor slopes = slopes_in.contiguous();
  at::Tensor out = at::empty(q.sizes(), q.options());
  const at::Tensor parts =
      at::empty({shape.batch, shape.heads, window_decode_segments(shape), shape.head_dim + 2},
                q.options().dtype(at::kFloat));
  auto p = params_of<WindowDecodeParams>(shape, q, k, v, slopes);
  p.parts = parts.mutable_data_ptr<float>();
  p.out = bf16_result(out);
  p.out_strides = strides_of(out);
  p.ring_rows = to_int32(k.size(1));
  p.ring_begin = window_decode_first_key(shape);
  check_launch(launch_window_decode(p, current_stream()), kName);
  return out;
}

std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                           const at::Tensor& slopes, int64_t window, double scale) {
  const c10::DeviceGuard guard(q.device());
  const WindowShape shape = shape_of(q, k, v, slopes, window, scale);
  const at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
  return {run_forward(q, k, v, slopes, shape, lse), lse};
}

at::Tensor output_only(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const at::Tensor& slopes, int64_t window, double scale) {
  const c10::DeviceGuard guard(q.device());
  const WindowShape shape = shape_of(q, k, v, slopes, window, scale);
  return shape.positions == 1 ? decode(q, k, v, slopes, shape) : run_forward(q, k, v, slopes, shape, {});
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> backward(const at::Tensor& dout_in, const at::Tensor& q_in,
                                                        const at::Tensor& k_in, const at::Tensor& v_in,
                                                        const at::Tensor& out_in, const at::Tensor& lse_in,
                                                        const at::Tensor& slopes_in, int64_t window,
                                                        double scale) {
  const c10::DeviceGuard guard(q_in.device());
  const WindowShape shape = shape_of(q_in, k_in, v_in, slopes_in, window, scale);
  kernels::check_window_gradient_arguments(dout_in, q_in, out_in, lse_in, slopes_in);
  const at::Tensor q = with_aligned_rows(q_in);
  const at::Tensor k = with_aligned_rows(k_in);
  const at::Tensor v = with_aligned_rows(v_in);
  const at::Tensor out = with_aligned_rows(out_in);
  const at::Tensor dout = with_aligned_rows(dout_in);
  const at::Tensor lse = lse_in.contiguous();
  const at::Tensor slopes = slopes_in.contiguous();
  void* const stream = current_stream();

  const at::Tensor dot = at::empty(lse.sizes(), lse.options());
  WindowDotParams sums;
  sums.shape = shape;
  sums.out = bf16_data(out);
  sums.dout = bf16_data(dout);
  sums.dot = dot.mutable_data_ptr<float>();
  sums.out_strides = strides_of(out);
  sums.dout_strides = strides_of(dout);
  check_launch(launch_window_dot(sums, stream), kName);

  const at::Tensor dq = at::empty(q.sizes(), q.options());
  const at::Tensor dk = at::empty(k.sizes(), k.options());
  const at::Tensor dv = at::empty(v.sizes(), v.options());
  auto p = params_of<WindowBackwardParams>(shape, q, k, v, slopes);
  p.dout = bf16_data(dout);
  p.lse = lse.const_data_ptr<float>();
  p.dot = sums.dot;
  p.dq = bf16_result(dq);
  p.dk = bf16_result(dk);
  p.dv = bf16_result(dv);
  p.dout_strides = strides_of(dout);
  p.dq_strides = strides_of(dq);
  p.dk_strides = strides_of(dk);
  p.dv_strides = strides_of(dv);
  check_launch(launch_window_backward_queries(p, stream), kName);
  check_launch(launch_window_backward_keys(p, stream), kName);
  return {dq, dk, dv};
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("sliding_window_attention", output_only);
  m.impl("sliding_window_attention_forward", forward);
  m.impl("sliding_window_attention_backward", backward);
}

}  // namespace
}  // namespace gca::cuda
