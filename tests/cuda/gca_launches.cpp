#include "tests/cuda/gca_launches.h"

#include <algorithm>
#include <set>

#include "tests/cuda/kernel_module.h"
#include "tests/cuda/strided.h"

namespace gca::testing {
namespace {

using cuda::Bf16;

/// Everything of a problem in device memory.
struct GcaOnDevice {
  GcaOnDevice(const GcaProblem& problem, const ptx::RunOptions& run_options)
      : shape(problem.shape),
        options(run_options),
        q({shape.batch, shape.positions, shape.heads, shape.head_dim}, 8),
        out({shape.batch, shape.positions, shape.heads, shape.head_dim}, 16),
        k({shape.batch, shape.chunks, shape.keys, shape.kv_heads, shape.head_dim}, 8),
        v({shape.batch, shape.chunks, shape.keys, shape.kv_heads, shape.head_dim}, 24),
        lse({shape.batch, shape.heads, shape.slots, shape.positions}, 0),
        idx(problem.idx),
        w(problem.w) {
    q.put(problem.q);
    std::vector<float> read_k = problem.k, read_v = problem.v;
    const auto chunk_size = read_k.size() / static_cast<size_t>(shape.batch * shape.chunks);
    for (int32_t chunk = 0; chunk < shape.batch * shape.chunks; ++chunk) {
      const auto lists = idx.begin() + int64_t{chunk / shape.chunks} * shape.rows * shape.slots;
      if (std::find(lists, lists + int64_t{shape.rows} * shape.slots, chunk % shape.chunks) !=
          lists + int64_t{shape.rows} * shape.slots)
        continue;
      std::fill_n(read_k.begin() + static_cast<int64_t>(chunk_size) * chunk, chunk_size, kNan);
      std::fill_n(read_v.begin() + static_cast<int64_t>(chunk_size) * chunk, chunk_size, kNan);
    }
    k.put(read_k);
    v.put(read_v);
  }

  static cuda::GcaStrides strides(const Strided<Bf16>& t) { return {t.stride(0), t.stride(1), t.stride(2)}; }
  static cuda::GcaChunkStrides chunk_strides(const Strided<Bf16>& t) {
    return {t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
  }
  cuda::GcaStatStrides stat_strides() const { return {lse.stride(0), lse.stride(1), lse.stride(2)}; }

  void launch(GcaRun& run, const std::string& file, const std::string& kernel, const ptx::Launch& launch) {
    const ptx::Outcome outcome = run_logged(file, kernel, launch, memory, options);
    run.reports += outcome.reports_text();
    run.counters += outcome.counters;
  }

  /// (B, H, K, n) as (B, n, H, K), 0 where no chunk was read.
  std::vector<double> stats(const Strided<float>& tensor) const {
    const std::vector<double> memory_order = tensor.get();
    std::vector<double> result(memory_order.size());
    for (int64_t i = 0; i < static_cast<int64_t>(result.size()); ++i) {
      const int64_t slot = i % shape.slots, head = i / shape.slots % shape.heads;
      const int64_t position = i / shape.slots / shape.heads % shape.positions;
      const int64_t batch = i / shape.slots / shape.heads / shape.positions;
      const int64_t row = (position + shape.first_offset) / shape.chunk_size;
      const int32_t chunk = idx[static_cast<size_t>((batch * shape.rows + row) * shape.slots + slot)];
      if (chunk < 0 || chunk >= shape.chunks) continue;
      result[static_cast<size_t>(i)] = memory_order[static_cast<size_t>(
          ((batch * shape.heads + head) * shape.slots + slot) * shape.positions + position)];
    }
    return result;
  }

  cuda::GcaShape shape;
  ptx::RunOptions options;
  ptx::GlobalMemory memory;
  Strided<Bf16> q, out, k, v;
  Strided<float> lse;
  std::vector<int32_t> idx;
  std::vector<float> w;
};

/// (B, n, H, K) into memory of (B, H, K, n).
void put_stats(Strided<float>& tensor, const std::vector<double>& values, const cuda::GcaShape& shape) {
  std::vector<float> memory_order(values.size());
  for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i) {
    const int64_t slot = i % shape.slots, head = i / shape.slots % shape.heads;
    const int64_t position = i / shape.slots / shape.heads % shape.positions;
    const int64_t batch = i / shape.slots / shape.heads / shape.positions;
    memory_order[static_cast<size_t>(((batch * shape.heads + head) * shape.slots + slot) * shape.positions +
                                     position)] = static_cast<float>(values[static_cast<size_t>(i)]);
  }
  tensor.put(memory_order);
}

}  // namespace

std::vector<GcaForwardVersion> gca_forward_versions(const cuda::GcaShape& shape) {
  std::vector<GcaForwardVersion> versions = {GcaForwardVersion::sm80};
  cuda::GcaForwardParams params;
  params.shape = shape;
  if (cuda::gca_forward_sm90_takes(params) && (!runs_on_gpu() || gpu_capability() == 9))
    versions.push_back(GcaForwardVersion::sm90);
  return versions;
}

GcaRun run_gca_forward(const GcaProblem& problem, const ptx::RunOptions& options, GcaForwardVersion version,
                       bool with_lse) {
  GcaOnDevice device(problem, options);
  GcaRun run;
  cuda::GcaForwardParams params;
  params.shape = problem.shape;
  params.q = device.q.on_device(device.memory, "q", ptx::Access::read_only);
  params.k = device.k.on_device(device.memory, "k", ptx::Access::read_only);
  params.v = device.v.on_device(device.memory, "v", ptx::Access::read_only);
  params.idx = device.memory.add("idx", std::span<const int32_t>(device.idx), ptx::Access::read_only);
  params.w = device.memory.add("w", std::span<const float>(device.w), ptx::Access::read_only);
  params.out = device.out.on_device(device.memory, "out", ptx::Access::write_first);
  if (with_lse) params.lse = device.lse.on_device(device.memory, "lse", ptx::Access::write_first);
  params.q_strides = GcaOnDevice::strides(device.q);
  params.out_strides = GcaOnDevice::strides(device.out);
  params.k_strides = GcaOnDevice::chunk_strides(device.k);
  params.v_strides = GcaOnDevice::chunk_strides(device.v);
  params.lse_strides = device.stat_strides();
  const cuda::GcaForwardVariant variant = cuda::gca_forward_variant(problem.shape);
  const std::string arguments =
      "ILi" + std::to_string(variant.head_dim) + "ELi" + std::to_string(variant.keys) + "E";
  if (version == GcaForwardVersion::sm90) {
    const cuda::LaunchShape shape = cuda::gca_forward_sm90_launch_shape(problem.shape);
    device.launch(run, "grouped_cross_attention_forward_sm90",
                  "gca_forward_sm90_kernel" + arguments + "Li" + std::to_string(shape.threads / 128) + "E",
                  launch_of(shape, params));
  } else {
    device.launch(run, "grouped_cross_attention_forward",
                  "gca_forward_kernel" + arguments + "Li" + std::to_string(variant.row_tiles) + "E",
                  launch_of(cuda::gca_forward_launch_shape(problem.shape), params));
  }
  run.out = device.out.get();
  if (with_lse) run.lse = device.stats(device.lse);
  return run;
}

GcaRun run_gca_backward(const GcaProblem& problem, const GcaTruth& truth, const ptx::RunOptions& options) {
  const cuda::GcaShape& shape = problem.shape;
  GcaOnDevice device(problem, options);
  GcaRun run;
  Strided<Bf16> dout({shape.batch, shape.positions, shape.heads, shape.head_dim}, 24);
  Strided<Bf16> dq({shape.batch, shape.positions, shape.heads, shape.head_dim}, 8);
  Strided<Bf16> dk({shape.batch, shape.chunks, shape.keys, shape.kv_heads, shape.head_dim}, 16), dv = dk;
  Strided<float> delta = device.lse;
  dout.put(problem.dout);
  put_stats(device.lse, truth.lse, shape);
  std::vector<float> dw(problem.w.size(), kNan);
  std::vector<float> dw_partial(problem.w.size() * static_cast<size_t>(cuda::gca_weight_partials(shape)),
                                kNan);
  std::vector<int32_t> offsets(static_cast<size_t>(shape.batch * (shape.chunks + 1)));
  std::vector<int32_t> readers(problem.idx.size());

  ptx::GlobalMemory& memory = device.memory;
  const auto* idx = memory.add("idx", std::span<const int32_t>(device.idx), ptx::Access::read_only);
  const auto* w = memory.add("w", std::span<const float>(device.w), ptx::Access::read_only);

  cuda::GcaBackwardQueriesParams first;
  first.shape = shape;
  first.q = device.q.on_device(memory, "q", ptx::Access::read_only);
  first.k = device.k.on_device(memory, "k", ptx::Access::read_only);
  first.v = device.v.on_device(memory, "v", ptx::Access::read_only);
  first.dout = dout.on_device(memory, "dout", ptx::Access::read_only);
  first.idx = idx;
  first.w = w;
  first.lse = device.lse.on_device(memory, "lse", ptx::Access::read_only);
  first.dq = dq.on_device(memory, "dq", ptx::Access::write_first);
  first.delta = delta.on_device(memory, "delta", ptx::Access::write_first);
  first.dw_partial = memory.add("dw_partial", std::span<float>(dw_partial), ptx::Access::write_first);
  first.q_strides = GcaOnDevice::strides(device.q);
  first.dout_strides = GcaOnDevice::strides(dout);
  first.dq_strides = GcaOnDevice::strides(dq);
  first.k_strides = GcaOnDevice::chunk_strides(device.k);
  first.v_strides = GcaOnDevice::chunk_strides(device.v);
  first.lse_strides = device.stat_strides();
  const std::string variant =
      "ILi" + std::to_string(shape.head_dim) + "ELi" + std::to_string(cuda::round_up_keys(shape.keys)) + "E";
  device.launch(run, "grouped_cross_attention_backward_queries", "gca_backward_queries_kernel" + variant,
                launch_of(cuda::gca_backward_queries_launch_shape(shape), first));

  cuda::GcaReduceWeightsParams reduce;
  reduce.dw_partial = first.dw_partial;
  reduce.idx = idx;
  reduce.dw = memory.add("dw", std::span<float>(dw), ptx::Access::write_first);
  reduce.size = static_cast<int64_t>(dw.size());
  reduce.partials = static_cast<int32_t>(cuda::gca_weight_partials(shape));
  reduce.chunks = shape.chunks;
  device.launch(run, "grouped_cross_attention_backward_queries", "gca_reduce_weights_kernel",
                launch_of(cuda::gca_reduce_weights_launch_shape(reduce.size), reduce));

  cuda::GcaReadersParams lists;
  lists.idx = idx;
  lists.offsets = memory.add("offsets", std::span<int32_t>(offsets), ptx::Access::write_first);
  lists.readers = memory.add("readers", std::span<int32_t>(readers), ptx::Access::write_first);
  lists.batch = shape.batch;
  lists.entries = shape.rows * shape.slots;
  lists.chunks = shape.chunks;
  device.launch(run, "grouped_cross_attention_backward_chunks", "gca_readers_kernel",
                launch_of(cuda::gca_readers_launch_shape(shape.batch, shape.chunks), lists));

  cuda::GcaBackwardChunksParams second;
  second.shape = shape;
  second.q = first.q;
  second.k = first.k;
  second.v = first.v;
  second.dout = first.dout;
  second.w = w;
  second.lse = first.lse;
  second.delta = first.delta;
  second.offsets = lists.offsets;
  second.readers = lists.readers;
  second.dk = dk.on_device(memory, "dk", ptx::Access::write_first);
  second.dv = dv.on_device(memory, "dv", ptx::Access::write_first);
  second.q_strides = first.q_strides;
  second.dout_strides = first.dout_strides;
  second.k_strides = first.k_strides;
  second.v_strides = first.v_strides;
  second.dk_strides = GcaOnDevice::chunk_strides(dk);
  second.dv_strides = GcaOnDevice::chunk_strides(dv);
  second.lse_strides = first.lse_strides;
  device.launch(run, "grouped_cross_attention_backward_chunks", "gca_backward_chunks_kernel" + variant,
                launch_of(cuda::gca_backward_chunks_launch_shape(shape), second));
  run.delta = device.stats(delta);
  run.dq = dq.get();
  run.dk = dk.get();
  run.dv = dv.get();
  run.dw.assign(dw.begin(), dw.end());
  return run;
}

}  // namespace gca::testing
