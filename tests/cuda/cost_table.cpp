#include "tests/cuda/cost_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/adamw/adamw_cuda.h"
#include "kernels/landmark_topk/landmark_topk_cuda.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy_cuda.h"
#include "kernels/rms_norm/rms_norm_cuda.h"
#include "kernels/rotary/rotary_cuda.h"
#include "kernels/swiglu/swiglu_cuda.h"
#include "tests/cuda/gca_launches.h"
#include "tests/cuda/kernel_resources.h"
#include "tests/cuda/numbers.h"
#include "tests/cuda/on_machine.h"
#include "tests/cuda/strided.h"
#include "tests/cuda/window_reference.h"

namespace gca::testing {
namespace {

using cuda::Bf16;

/// Rows of tensors side by side while it lives.
class Packed {
 public:
  Packed() { set(true); }
  ~Packed() { set(false); }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;

 private:
  static void set(bool packed) {
    Strided<Bf16>::packed = packed;
    Strided<float>::packed = packed;
  }
};

/// The logged launch of a kernel since the log was cleared.
KernelCost cost_of(const std::string& name, const std::string& kernel) {
  for (const LoggedLaunch& logged : launch_log()) {
    if (logged.kernel.find(kernel) == std::string::npos) continue;
    KernelCost cost;
    cost.name = name;
    cost.file = logged.file;
    cost.kernel = logged.kernel;
    cost.counters = logged.counters;
    cost.threads = static_cast<int>(logged.launch.block.x);
    cost.shared_bytes = logged.launch.dynamic_shared_bytes;
    return cost;
  }
  throw std::runtime_error("no launch of " + kernel);
}

const ptx::RunOptions kCounting = {.seed = 1, .check_races = false};

/// One key/value head of grouped cross-attention: `heads` query heads, lists of 8 chunks of `keys` keys.
std::vector<KernelCost> gca_costs(int rows, int heads, int keys, double repeats, const std::string& size) {
  cuda::GcaShape s;
  s.batch = 1;
  s.positions = rows * 64;
  s.heads = heads;
  s.kv_heads = 1;
  s.chunks = rows;
  s.keys = keys;
  s.head_dim = 64;
  s.rows = rows;
  s.slots = 8;
  s.chunk_size = 64;
  s.scale = 0.125F;
  s.softmax_one = 1;
  const GcaProblem problem = random_gca_problem(s, 1, 0);
  GcaTruth statistics;  // any: counts do not depend on them
  statistics.lse.assign(problem.q.size() / 64 * 8, 5.0);
  launch_log().clear();
  (void)run_gca_forward(problem, kCounting);
  (void)run_gca_forward(problem, kCounting, GcaForwardVersion::sm90);
  (void)run_gca_backward(problem, statistics, kCounting);

  const double queries = 64.0 * (rows - 1) * heads;  // row 0 reads nothing
  const double row_bytes = 64 * 2, pair_macs = 8.0 * keys * 64;
  const double q_bytes = static_cast<double>(problem.q.size()) * 2;
  double read_chunks = 0;
  for (int32_t c = 0; c < s.chunks; ++c)
    read_chunks += std::find(problem.idx.begin(), problem.idx.end(), c) != problem.idx.end() ? 1 : 0;
  const double kv_bytes = 2 * read_chunks * keys * row_bytes;
  const double stat_bytes = queries * 8 * 4;
  const double list_bytes = rows * 8 * 8.0;
  std::vector<KernelCost> costs = {cost_of("GCA forward", "gca_forward_kernel"),
                                   cost_of("GCA backward, dq and dw", "gca_backward_queries_kernel"),
                                   cost_of("GCA backward, dk and dv", "gca_backward_chunks_kernel"),
                                   cost_of("GCA forward", "gca_forward_sm90_kernel")};
  const double q_read = queries * row_bytes;
  costs[0].least_dram_bytes = q_read + q_bytes + kv_bytes + stat_bytes + list_bytes;
  costs[1].least_dram_bytes = 2 * q_read + q_bytes + kv_bytes + 2 * stat_bytes + list_bytes;
  costs[2].least_dram_bytes =
      2 * q_read + kv_bytes + 2.0 * s.chunks * keys * row_bytes + 2 * stat_bytes + list_bytes;
  costs[0].least_macs = 2 * queries * pair_macs;
  costs[1].least_macs = 3 * queries * pair_macs;
  costs[2].least_macs = 4 * queries * pair_macs;
  costs[3].least_dram_bytes = costs[0].least_dram_bytes;
  costs[3].least_macs = costs[0].least_macs;
  costs[3].least_l2_bytes =
      q_read + q_bytes + (rows - 1) * 8.0 * 2 * keys * row_bytes + stat_bytes + list_bytes;
  for (KernelCost& cost : costs) {
    cost.size = size;
    cost.repeats = repeats;
  }
  return costs;
}

/// One head of sliding-window attention, W = 512.
std::vector<KernelCost> window_costs(int positions, double repeats, const std::string& size) {
  const WindowProblem problem = random_window_problem({1, positions, 512, 1, 64, 512, 0.125F}, 1);
  WindowResults truth;
  truth.out.assign(problem.q.size(), 0);
  truth.lse.assign(problem.q.size() / 64, 5);
  launch_log().clear();
  (void)run_window_forward(problem, kCounting);
  (void)run_window_backward(problem, truth, kCounting);
  const double q_bytes = static_cast<double>(problem.q.size()) * 2,
               kv_bytes = 4.0 * static_cast<double>(problem.k.size());
  const double stat_bytes = positions * 4.0;
  const double pair_macs = positions * 513.0 * 64;  // every query sees W + 1 keys: its past is full
  std::vector<KernelCost> costs = {cost_of("window forward", "window_forward_kernel"),
                                   cost_of("window backward, dq", "window_backward_queries_kernel"),
                                   cost_of("window backward, dk and dv", "window_backward_keys_kernel")};
  costs[0].least_dram_bytes = 2 * q_bytes + kv_bytes + stat_bytes;
  costs[1].least_dram_bytes = 3 * q_bytes + kv_bytes + 2 * stat_bytes;
  costs[2].least_dram_bytes = 2 * q_bytes + 2 * kv_bytes + 2 * stat_bytes;
  costs[0].least_macs = 2 * pair_macs;
  costs[1].least_macs = 3 * pair_macs;
  costs[2].least_macs = 4 * pair_macs;
  for (KernelCost& cost : costs) {
    cost.size = size;
    cost.repeats = repeats;
  }
  return costs;
}

template <class T>
std::vector<T> zeros(int64_t size) {
  return std::vector<T>(static_cast<size_t>(size));
}

/// The memory-bound kernels at a slice of the work; `positions` (B L) of a model of width d in all.
std::vector<KernelCost> streaming_costs(int d, int d_ff, int heads, int64_t positions, int64_t parameters,
                                        const std::string& size) {
  std::vector<KernelCost> costs;
  OnMachine machine(kCounting);
  const auto keep = [&](const std::string& name, const std::string& kernel, double repeats, double bytes) {
    costs.push_back(cost_of(name, kernel));
    costs.back().size = size;
    costs.back().repeats = repeats;
    costs.back().least_dram_bytes = bytes;
  };
  constexpr int64_t kRows = 1024;
  const double slices = static_cast<double>(positions) / kRows;
  auto x = zeros<float>(kRows * d), weight = zeros<float>(d), sum = x, inverse_rms = zeros<float>(kRows),
       dx = x;
  auto addend = zeros<Bf16>(kRows * d), y = addend;
  launch_log().clear();
  cuda::RmsNormParams norm;
  norm.x = machine.in("x", x);
  norm.addend = machine.in("addend", addend);
  norm.sum = machine.out("sum", sum);
  norm.weight = machine.in("weight", weight);
  norm.y = machine.out("y", y);
  norm.inverse_rms = machine.out("inverse_rms", inverse_rms);
  norm.rows = kRows;
  norm.d = d;
  norm.eps = 1e-5F;
  const std::string vectors = "ILi" + std::to_string(cuda::rms_norm_vectors(d)) + "EN";
  machine.launch("rms_norm", "rms_norm_kernel" + vectors, cuda::rms_norm_launch_shape(kRows), norm);
  const double elements = static_cast<double>(kRows) * d;
  keep("residual and RMSNorm", "rms_norm_kernel", slices, elements * (4 + 2 + 4 + 2));

  cuda::RmsNormBackwardParams back;
  back.dy = machine.in("dy", addend);
  back.x = norm.x;
  back.weight = norm.weight;
  back.inverse_rms = norm.inverse_rms;
  back.dx = machine.out("dx", dx);
  auto partial = zeros<float>(cuda::rms_norm_partials(kRows) * d);
  back.partial = machine.out("partial", partial);
  back.rows = kRows;
  back.d = d;
  machine.launch("rms_norm", "rms_norm_backward_kernel" + vectors,
                 cuda::rms_norm_backward_launch_shape(kRows, d), back);
  keep("RMSNorm backward", "rms_norm_backward_kernel", slices, elements * (2 + 4 + 4));

  const auto gate = zeros<Bf16>(kRows * d_ff), up = zeros<Bf16>(kRows * d_ff);
  auto gated = gate, dgate = gate, dup = gate;
  const int64_t gates = kRows * d_ff;
  const cuda::SwigluParams swiglu{machine.in("gate", gate), machine.in("up", up), machine.out("gated", gated),
                                  gates};
  machine.launch("swiglu", "swiglu_kernel", cuda::swiglu_launch_shape(gates), swiglu);
  keep("SwiGLU", "swiglu_kernel", slices, static_cast<double>(gates) * 6);
  const cuda::SwigluBackwardParams swiglu_back{
      machine.in("dgated", gated), swiglu.gate, swiglu.up, machine.out("dgate", dgate),
      machine.out("dup", dup),     gates};
  machine.launch("swiglu", "swiglu_backward_kernel", cuda::swiglu_launch_shape(gates), swiglu_back);
  keep("SwiGLU backward", "swiglu_backward_kernel", slices, static_cast<double>(gates) * 10);

  auto angles = zeros<float>(64 * 32);
  const float* cosine = machine.in("cosine", angles);
  const cuda::RotaryParams rotary{
      machine.in("rx", addend), machine.out("ry", y), cosine, cosine, kRows * heads, 64, heads, 64, 1};
  machine.launch("rotary", "rotary_kernel", cuda::rotary_launch_shape(rotary.rows, 64), rotary);
  keep("rotary", "rotary_kernel", slices, elements * 4);

  constexpr int64_t kSlice = 1 << 20;
  auto w = zeros<float>(kSlice), gradient = w, m = w, v = w;
  auto copy = zeros<Bf16>(kSlice);
  cuda::AdamWParams adamw;
  adamw.weight = machine.in_out("w", w);
  adamw.gradient = machine.in("gradient", gradient);
  adamw.first_moment = machine.in_out("m", m);
  adamw.second_moment = machine.in_out("v", v);
  adamw.copy = machine.out("copy", copy);
  adamw.size = kSlice;
  adamw.epsilon = 1e-6F;
  machine.launch("adamw", "adamw_kernel", cuda::adamw_launch_shape(kSlice), adamw);
  const double optimizer_slices = static_cast<double>(parameters) / kSlice;
  keep("AdamW", "adamw_kernel", optimizer_slices, kSlice * 30.0);
  auto parts = zeros<double>(kSlice / cuda::kNormBlock);
  machine.launch("adamw", "sum_of_squares_kernel", cuda::sum_of_squares_launch_shape(kSlice),
                 cuda::SumOfSquaresParams{adamw.gradient, machine.out("parts", parts), kSlice});
  keep("gradient norm", "sum_of_squares_kernel", optimizer_slices, kSlice * 4.0);

  constexpr int64_t kLossRows = 64, kColumns = 8192;
  auto z = zeros<float>(kLossRows * kColumns), row_sum = zeros<float>(kLossRows), row_largest = row_sum,
       target_logit = row_sum;
  auto targets = zeros<int64_t>(kLossRows);
  auto dz = zeros<Bf16>(kLossRows * kColumns);
  cuda::CrossEntropyStatisticsParams loss;
  loss.z = machine.in("z", z);
  loss.targets = machine.in("targets", targets);
  loss.largest = machine.out("largest", row_largest);
  loss.sum = machine.out("row_sum", row_sum);
  loss.target_logit = machine.out("target_logit", target_logit);
  loss.rows = kLossRows;
  loss.stride = kColumns;
  loss.columns = kColumns;
  machine.launch("linear_cross_entropy", "cross_entropy_statistics_kernel",
                 cuda::cross_entropy_launch_shape(kLossRows), loss);
  const double loss_slices = static_cast<double>(positions) / kLossRows * 32000 / kColumns;
  keep("cross-entropy, statistics", "cross_entropy_statistics_kernel", loss_slices,
       kLossRows * kColumns * 4.0);
  machine.launch(
      "linear_cross_entropy", "cross_entropy_gradient_kernel", cuda::cross_entropy_launch_shape(kLossRows),
      cuda::CrossEntropyGradientParams{loss.z, loss.targets, loss.largest, loss.sum, machine.out("dz", dz),
                                       kLossRows, kColumns, kColumns, 0, 1});
  keep("cross-entropy, gradient", "cross_entropy_gradient_kernel", loss_slices, kLossRows * kColumns * 6.0);
  return costs;
}

/// The choice of 8 chunks: training (all queries of a sequence), and one query over 300,000 landmarks.
std::vector<KernelCost> choice_costs(int d, int rows, const std::string& size) {
  std::vector<KernelCost> costs;
  OnMachine machine(kCounting);
  launch_log().clear();
  RandomNumbers random(1);
  auto r = zeros<float>(int64_t{rows} * rows);
  for (float& x : r) x = random.normal();
  auto idx = zeros<int32_t>(int64_t{rows} * 8);
  cuda::LandmarkTopkParams choice;
  choice.r = machine.in("r", r);
  choice.idx = machine.out("idx", idx);
  choice.draws_noise = 1;
  choice.batch = 1;
  choice.rows = choice.chunks = rows;
  choice.slots = 8;
  machine.launch("landmark_topk",
                 "landmark_topk_kernelILi" + std::to_string(cuda::topk_candidates(rows)) + "E",
                 cuda::landmark_topk_launch_shape(choice), choice);
  costs.push_back(cost_of("top 8 with noise", "landmark_topk_kernel"));
  costs.back().size = size;
  costs.back().least_dram_bytes = static_cast<double>(rows) * rows / 2 * 4 + rows * 32.0;

  constexpr int kLandmarks = 8192;
  launch_log().clear();
  auto q = zeros<Bf16>(d), landmarks = zeros<Bf16>(int64_t{kLandmarks} * d);
  auto scores = zeros<float>(kLandmarks);
  machine.launch("landmark_topk", "landmark_scores_kernel", cuda::landmark_scores_launch_shape(1, kLandmarks),
                 cuda::LandmarkScoresParams{machine.in("q", q), machine.in("landmarks", landmarks),
                                            machine.out("scores", scores), 0, d, 1, kLandmarks, d, 1});
  costs.push_back(cost_of("landmark scores, decoding", "landmark_scores_kernel"));
  costs.back().size = size + ", 300K landmarks";
  costs.back().repeats = 300000.0 / kLandmarks;
  costs.back().least_dram_bytes = static_cast<double>(kLandmarks) * (d * 2 + 4);
  return costs;
}

void append(std::vector<KernelCost>& all, const std::vector<KernelCost>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

}  // namespace

AttentionCosts attention_costs() {
  const Packed packed;
  const std::vector<KernelCost> gca = gca_costs(17, 1, 64, 1, "");
  const std::vector<KernelCost> window = window_costs(1024, 1, "");
  return {gca[0], gca[1], gca[2], window[0], window[1], window[2]};
}

KernelCost gca_forward_sm90_cost() {
  const Packed packed;
  return gca_costs(17, 4, 64, 1, "").back();
}

std::vector<KernelCost> kernel_costs() {
  const Packed packed;
  std::vector<KernelCost> costs;
  // One sequence of 16,380 text tokens: 260 chunks, 16,640 positions. A slice of 33 chunks stands for them.
  constexpr int kChunks = 33;
  append(costs, gca_costs(kChunks, 1, 63, 12.0 * 259 / (kChunks - 1), "128m, 12 heads"));
  append(costs, gca_costs(kChunks, 1, 63, 16.0 * 259 / (kChunks - 1), "350m, 16 heads"));
  append(costs, gca_costs(kChunks, 4, 63, 4.0 * 259 / (kChunks - 1), "350m, 4 key/value heads"));
  append(costs, window_costs(1024, 12.0 * 16640 / 1024, "128m, 12 heads"));
  append(costs, window_costs(1024, 16.0 * 16640 / 1024, "350m, 16 heads"));
  append(costs, choice_costs(768, 260, "128m"));
  append(costs, choice_costs(1024, 260, "350m"));
  append(costs, streaming_costs(768, 2048, 12, 16640, 131953920, "128m"));
  append(costs, streaming_costs(1024, 2816, 16, 16640, 388961280, "350m"));
  return costs;
}

namespace {

/// A kernel on one GPU: microseconds of the whole launch.
struct ModelledTimes {
  ptx::Cycles resources;  // by each alone, in microseconds
  double dram = 0, all = 0, floor = 0;
  double dram_over_least = 0;
};

ModelledTimes modelled_times(const KernelCost& cost, const ptx::Gpu& gpu) {
  const auto us = [&](double cycles) {
    return cycles * cost.repeats / gpu.multiprocessors / (gpu.clock_ghz * 1e3);
  };
  const double dram =
      static_cast<double>(cost.counters.dram_read_bytes + cost.counters.dram_write_bytes) * cost.repeats;
  const double tensor_macs = cost.counters.warpgroup_macs > 0 ? gpu.warpgroup_macs : gpu.tensor_macs;
  ModelledTimes times;
  times.resources = ptx::cycles_of(cost.counters, gpu);
  for (double* term : {&times.resources.issue, &times.resources.special, &times.resources.tensor,
                       &times.resources.shared, &times.resources.l2})
    *term = us(*term);
  times.dram = dram / gpu.dram_bytes_per_second * 1e6;
  times.all = 1e6 * ptx::modelled_seconds(
                        cost.counters, static_cast<double>(cost.counters.blocks) * cost.repeats, dram, gpu);
  times.floor = std::max(us(cost.least_macs / tensor_macs),
                         cost.least_dram_bytes * cost.repeats / gpu.dram_bytes_per_second * 1e6);
  times.dram_over_least = dram / (cost.least_dram_bytes * cost.repeats);
  return times;
}

bool is_of_hopper(const KernelCost& cost) {
  return cost.counters.warpgroup_macs > 0;
}

std::string a100_table(const std::vector<KernelCost>& costs) {
  std::string table =
      "| kernel | size | registers, spills | shared | blocks | tensor | issue | shared | L2 | DRAM | A100 us "
      "| floor | ratio | "
      "DRAM / least | H100 us |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const KernelCost& cost : costs) {
    if (is_of_hopper(cost)) continue;
    const KernelResources resources = resources_of(cost.file, cost.kernel);
    const ModelledTimes times = modelled_times(cost, ptx::kA100);
    table += fmt::format(
        "| {} | {} | {}, {} | {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | "
        "{:.2f} | {:.2f} | {:.1f} |\n",
        cost.name, cost.size, resources.registers, resources.spilled_bytes, cost.shared_bytes,
        ptx::blocks_at_once(ptx::kA100, resources.registers, cost.shared_bytes, cost.threads),
        times.resources.tensor, times.resources.issue, times.resources.shared, times.resources.l2, times.dram,
        times.all, times.floor, times.all / times.floor, times.dram_over_least,
        modelled_times(cost, ptx::kH100).all);
  }
  return table;
}

std::string h100_table(const std::vector<KernelCost>& costs) {
  std::string table =
      "| kernel by wgmma | size | registers, spills | shared | blocks | tensor | special | issue | shared | "
      "L2 | DRAM "
      "| H100 us | floor | ratio | DRAM / least | by mma.sync |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const KernelCost& cost : costs) {
    if (!is_of_hopper(cost)) continue;
    const KernelResources resources = resources_of(cost.file, cost.kernel, "sm_90a");
    const ModelledTimes times = modelled_times(cost, ptx::kH100);
    const auto other = std::find_if(costs.begin(), costs.end(), [&](const KernelCost& candidate) {
      return candidate.name == cost.name && candidate.size == cost.size && !is_of_hopper(candidate);
    });
    table += fmt::format(
        "| {} | {} | {}, {} | {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | "
        "{:.1f} | "
        "{:.2f} | {:.2f} | {:.1f} |\n",
        cost.name, cost.size, resources.registers, resources.spilled_bytes, cost.shared_bytes,
        ptx::blocks_at_once(ptx::kH100, resources.registers, cost.shared_bytes, cost.threads),
        times.resources.tensor, times.resources.special, times.resources.issue, times.resources.shared,
        times.resources.l2, times.dram, times.all, times.floor, times.all / times.floor,
        times.dram_over_least, modelled_times(*other, ptx::kH100).all);
  }
  return table;
}

}  // namespace

CostTables kernel_cost_tables() {
  const std::vector<KernelCost> costs = kernel_costs();
  return {a100_table(costs), h100_table(costs)};
}

}  // namespace gca::testing
