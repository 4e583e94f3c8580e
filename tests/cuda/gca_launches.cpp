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
      if (std::find(lists, lists + int64_t{shape.rows} * shape.slots, chunk % shape.chunks) != lists + int64_t{shape.rows} * shape.slots)
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
    const ptx::Outcome outcome = ptx::run(cuda_kernel(file, kernel), launch, memory, options);
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
      result[static_cast<size_t>(i)] =
          memory_order[static_cast<size_t>(((batch * shape.heads + head) * shape.slots + slot) * shape.positions + position)];
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

}  // namespace

GcaRun run_gca_forward(const GcaProblem& problem, const ptx::RunOptions& options, bool with_lse) {
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
  device.launch(run, "grouped_cross_attention_forward",
                "gca_forward_kernelILi" + std::to_string(variant.head_dim) + "ELi" + std::to_string(variant.keys) + "ELi" +
                    std::to_string(variant.row_tiles) + "E",
                launch_of(cuda::gca_forward_launch_shape(problem.shape), params));
  run.out = device.out.get();
  if (with_lse) run.lse = device.stats(device.lse);
  return run;
}

}  // namespace gca::testing
