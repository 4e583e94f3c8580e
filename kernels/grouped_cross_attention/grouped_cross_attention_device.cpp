// Grouped cross-attention on a device: tensors to the kernels of grouped_cross_attention_cuda.h.
#include <ATen/ops/empty_strided.h>
#include <torch/library.h>

#include "kernels/common/cuda/device_tensor.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention_checks.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention_cuda.h"

namespace gca::cuda {
namespace {

constexpr auto kName = "grouped_cross_attention";

GcaShape shape_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& idx,
                  const at::Tensor& w, const kernels::ReadingLayout& layout, double scale, bool softmax_one) {
  kernels::check_gca_arguments(q, k, v, idx, w, layout);
  const int64_t dh = q.size(3);
  TORCH_CHECK(dh == 32 || dh == 64 || dh == 128, kName, ": on a GPU head_dim is 32, 64 or 128, got ", dh);
  TORCH_CHECK(k.size(2) <= 128 && layout.chunk_size <= 128, kName,
              ": on a GPU a chunk has at most 128 keys and positions, got ", k.size(2), " and ",
              layout.chunk_size);
  // ReadingRow divides by S with 32 bits.
  TORCH_CHECK(layout.chunk_size >= 2, kName, ": on a GPU a chunk has at least 2 positions, got ",
              layout.chunk_size);
  TORCH_CHECK(idx.size(2) <= 32, kName, ": on a GPU a position reads at most 32 chunks, got ", idx.size(2));
  GcaShape shape;
  shape.batch = to_int32(q.size(0));
  shape.positions = to_int32(q.size(1));
  shape.heads = to_int32(q.size(2));
  shape.head_dim = to_int32(dh);
  shape.chunks = to_int32(k.size(1));
  shape.keys = to_int32(k.size(2));
  shape.kv_heads = to_int32(k.size(3));
  shape.rows = to_int32(idx.size(1));
  shape.slots = to_int32(idx.size(2));
  shape.chunk_size = to_int32(layout.chunk_size);
  shape.first_offset = to_int32(layout.first_offset);
  shape.scale = static_cast<float>(scale);
  shape.softmax_one = softmax_one ? 1 : 0;
  return shape;
}

GcaStrides strides_of(const at::Tensor& q) {
  return {q.stride(0), q.stride(1), q.stride(2)};
}
GcaChunkStrides chunk_strides_of(const at::Tensor& k) {
  return {k.stride(0), k.stride(1), k.stride(2), k.stride(3)};
}
GcaStatStrides stat_strides_of(const at::Tensor& lse) {
  return {lse.stride(0), lse.stride(2), lse.stride(3)};
}

/// (B, n, H, K) float with positions side by side.
at::Tensor new_statistics(const at::Tensor& q, int64_t slots) {
  return at::empty({q.size(0), q.size(2), slots, q.size(1)}, q.options().dtype(at::kFloat))
      .permute({0, 3, 1, 2});
}

/// Inputs as the kernels read them.
struct Inputs {
  Inputs(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in, const at::Tensor& idx_in,
         const at::Tensor& w_in)
      : q(with_aligned_rows(q_in)),
        k(with_aligned_rows(k_in)),
        v(with_aligned_rows(v_in)),
        idx(idx_in.contiguous()),
        w(w_in.contiguous()) {}

  /// What the arguments of all kernels have in common.
  template <class Params>
  Params params(const GcaShape& shape) const {
    Params p;
    p.shape = shape;
    p.q = bf16_data(q);
    p.k = bf16_data(k);
    p.v = bf16_data(v);
    p.w = w.const_data_ptr<float>();
    p.q_strides = strides_of(q);
    p.k_strides = chunk_strides_of(k);
    p.v_strides = chunk_strides_of(v);
    return p;
  }

  at::Tensor q, k, v, idx, w;
};

at::Tensor decode(const Inputs& in, const GcaShape& shape) {
  at::Tensor out = at::empty(in.q.sizes(), in.q.options());
  const at::Tensor parts =
      at::empty({shape.batch, shape.heads, shape.slots, shape.head_dim}, in.q.options().dtype(at::kFloat));
  auto p = in.params<GcaDecodeParams>(shape);
  p.idx = in.idx.const_data_ptr<int32_t>();
  p.parts = parts.mutable_data_ptr<float>();
  p.out = bf16_result(out);
  p.out_strides = strides_of(out);
  check_launch(launch_gca_decode(p, current_stream()), kName);
  return out;
}

at::Tensor run_forward(const Inputs& in, const GcaShape& shape, const at::Tensor& lse) {
  at::Tensor out = at::empty(in.q.sizes(), in.q.options());
  auto p = in.params<GcaForwardParams>(shape);
  p.idx = in.idx.const_data_ptr<int32_t>();
  p.out = bf16_result(out);
  p.out_strides = strides_of(out);
  if (lse.defined()) {
    p.lse = lse.mutable_data_ptr<float>();
    p.lse_strides = stat_strides_of(lse);
  }
  // Code with wgmma runs on compute capability 9 alone, not on later ones.
  const bool is_hopper = compute_capability() == 9;
  check_launch(is_hopper && gca_forward_sm90_takes(p) ? launch_gca_forward_sm90(p, current_stream())
                                                      : launch_gca_forward(p, current_stream()),
               kName);
  return out;
}

std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                           const at::Tensor& idx, const at::Tensor& w, int64_t chunk_size,
                                           int64_t first_offset, double scale, bool softmax_one) {
  const c10::DeviceGuard guard(q.device());
  const GcaShape shape = shape_of(q, k, v, idx, w, {chunk_size, first_offset}, scale, softmax_one);
  const at::Tensor lse = new_statistics(q, shape.slots);
  return {run_forward(Inputs(q, k, v, idx, w), shape, lse), lse};
}

at::Tensor output_only(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& idx,
                       const at::Tensor& w, int64_t chunk_size, int64_t first_offset, double scale,
                       bool softmax_one) {
  const c10::DeviceGuard guard(q.device());
  const GcaShape shape = shape_of(q, k, v, idx, w, {chunk_size, first_offset}, scale, softmax_one);
  const Inputs in(q, k, v, idx, w);
  return shape.positions == 1 ? decode(in, shape) : run_forward(in, shape, {});
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& dout_in, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& idx, const at::Tensor& w, const at::Tensor& lse_in, int64_t chunk_size,
    int64_t first_offset, double scale, bool softmax_one) {
  const c10::DeviceGuard guard(q.device());
  const GcaShape shape = shape_of(q, k, v, idx, w, {chunk_size, first_offset}, scale, softmax_one);
  kernels::check_gca_gradient_arguments(dout_in, q, idx, w, lse_in);
  const Inputs in(q, k, v, idx, w);
  const at::Tensor dout = with_aligned_rows(dout_in);
  at::Tensor lse = lse_in;
  if (lse.size(1) > 1 && lse.stride(1) != 1) lse = new_statistics(q, shape.slots).copy_(lse_in);
  const at::TensorOptions floats = q.options().dtype(at::kFloat);
  const at::TensorOptions integers = q.options().dtype(at::kInt);
  void* const stream = current_stream();

  const at::Tensor dq = at::empty(q.sizes(), q.options());
  const at::Tensor delta = at::empty_strided(lse.sizes(), lse.strides(), lse.options());
  const at::Tensor partial = at::empty({gca_weight_partials(shape), in.idx.numel()}, floats);
  auto first = in.params<GcaBackwardQueriesParams>(shape);
  first.dout = bf16_data(dout);
  first.idx = in.idx.const_data_ptr<int32_t>();
  first.lse = lse.const_data_ptr<float>();
  first.dq = bf16_result(dq);
  first.delta = delta.mutable_data_ptr<float>();
  first.dw_partial = partial.mutable_data_ptr<float>();
  first.dout_strides = strides_of(dout);
  first.dq_strides = strides_of(dq);
  first.lse_strides = stat_strides_of(lse);
  check_launch(launch_gca_backward_queries(first, stream), kName);

  const at::Tensor dw = at::empty(w.sizes(), floats);
  GcaReduceWeightsParams reduce;
  reduce.dw_partial = first.dw_partial;
  reduce.idx = first.idx;
  reduce.dw = dw.mutable_data_ptr<float>();
  reduce.size = dw.numel();
  reduce.partials = to_int32(gca_weight_partials(shape));
  reduce.chunks = shape.chunks;
  check_launch(launch_gca_reduce_weights(reduce, stream), kName);

  const at::Tensor dk = at::empty(k.sizes(), k.options());
  const at::Tensor dv = at::empty(v.sizes(), v.options());
  if (shape.chunks == 0) return {dq, dk, dv, dw};
  const at::Tensor offsets = at::empty({shape.batch, shape.chunks + 1}, integers);
  const at::Tensor readers = at::empty({in.idx.numel()}, integers);
  GcaReadersParams lists;
  lists.idx = first.idx;
  lists.offsets = offsets.mutable_data_ptr<int32_t>();
  lists.readers = readers.mutable_data_ptr<int32_t>();
  lists.batch = shape.batch;
  lists.entries = shape.rows * shape.slots;
  lists.chunks = shape.chunks;
  check_launch(launch_gca_readers(lists, stream), kName);

  auto second = in.params<GcaBackwardChunksParams>(shape);
  second.dout = first.dout;
  second.lse = first.lse;
  second.delta = first.delta;
  second.offsets = lists.offsets;
  second.readers = lists.readers;
  second.dk = bf16_result(dk);
  second.dv = bf16_result(dv);
  second.dout_strides = first.dout_strides;
  second.dk_strides = chunk_strides_of(dk);
  second.dv_strides = chunk_strides_of(dv);
  second.lse_strides = first.lse_strides;
  check_launch(launch_gca_backward_chunks(second, stream), kName);
  return {dq, dk, dv, dw};
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("grouped_cross_attention", output_only);
  m.impl("grouped_cross_attention_forward", forward);
  m.impl("grouped_cross_attention_backward", backward);
}

}  // namespace
}  // namespace gca::cuda
