#include "tests/golden_check/mechanism_case.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "kernels/landmark_attention/landmark_attention.h"
#include "kernels/nearest_code/nearest_code.h"
#include "lib/core/error.h"
#include "lib/model/backbones/fot/crossbatch_attention.h"
#include "lib/model/backbones/fot/memory_attention.h"
#include "lib/model/backbones/landmark/landmark_reading.h"
#include "lib/model/backbones/longvq/codebook.h"
#include "lib/model/backbones/longvq/vq_attention.h"
#include "lib/model/backbones/recurformer/mamba_mixer.h"
#include "lib/model/backbones/rmt/memory_segment_attention.h"
#include "lib/model/backbones/tensorized/strided_window.h"

namespace gca::golden {
namespace {

using Parameters = nlohmann::json;

struct Inputs {
  at::Tensor q, k, v;  // (B, L, H, dh), leaves
  at::Tensor slopes;   // (H), where the mechanism has them
  double scale = 1;
  const GoldenFile* golden = nullptr;

  /// Type of statistics.
  at::ScalarType wide() const { return q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }
};

at::Tensor landmark(const Inputs& in, const Parameters& parameters, NamedTensors& results) {
  model::LandmarkReadingSettings settings;
  settings.block_size = parameters.at("S");
  settings.top_k = parameters.at("K");
  settings.local_size = parameters.at("P");
  settings.all_heads = parameters.at("selection") == "all_heads";
  settings.theta = parameters.at("rope_theta");
  settings.scale = in.scale;
  {
    const at::NoGradGuard no_grad;
    const model::LandmarkReading reading =
        model::landmark_reading(in.q, model::keys_in_blocks(in.k, 0, settings), in.v, settings);
    results["inference_out"] = reading.out;
    results["idx"] = reading.blocks;
  }
  return kernels::landmark_attention(in.q, in.k, in.v, settings.block_size, in.scale);
}

at::Tensor rmt(const Inputs& in, const Parameters& parameters, NamedTensors& /*results*/) {
  const int64_t M = parameters.at("M");
  const model::Qkv rows{in.q, in.k, in.v};
  const model::SegmentPart part{M, in.q.size(1) - 2 * M, M};
  return model::memory_segment_attention(rows, part, model::rows_of_part(rows, part), in.slopes,
                                         parameters.at("W"), in.scale);
}

at::Tensor fot(const Inputs& in, const Parameters& parameters, NamedTensors& results) {
  const int64_t n = parameters.at("n");
  {
    const at::NoGradGuard no_grad;
    results["inference_out"] =
        model::memory_attention(in.q, in.k, in.v, {.local_context = n, .top_k = parameters.at("top_k")},
                                in.scale)
            .out;
  }
  return model::crossbatch_attention(in.q, in.k, in.v, {n, parameters.at("d"), parameters.at("stepping")},
                                     in.scale);
}

at::Tensor tensorized(const Inputs& in, const Parameters& parameters, NamedTensors& /*results*/) {
  return model::tensorized_attention(in.q, in.k, in.v, in.slopes,
                                     parameters.at("fold").get<std::vector<int64_t>>(), in.scale);
}

at::Tensor longvq(const Inputs& in, const Parameters& parameters, NamedTensors& results) {
  model::Codebook codebook;
  codebook.count.master = in.golden->tensors.at("count").to(in.wide()).clone();
  codebook.sum.master = in.golden->tensors.at("sum").to(in.wide()).clone();
  const at::Tensor codes = codebook.codes();
  const at::Tensor z = kernels::nearest_code(in.k, codes);
  results["codes"] = z;
  model::KeyCounts step;
  step.add(in.k, z, codes.size(1), {});
  codebook.update(step, parameters.at("decay"), /*revival=*/0);
  results["count_after"] = codebook.count.master;
  results["sum_after"] = codebook.sum.master;
  return model::vq_attention(in.q, in.k, in.v, codes, z, parameters.at("W"), in.scale,
                             parameters.at("straight_through"));
}

using Mechanism = at::Tensor (*)(const Inputs&, const Parameters&, NamedTensors&);

Mechanism mechanism_of(const std::string& kind) {
  const std::map<std::string, Mechanism> known = {
      {"landmark", landmark}, {"rmt", rmt}, {"fot", fot}, {"longvq", longvq}, {"tensorized", tensorized}};
  const auto entry = known.find(kind);
  if (entry == known.end()) fail_usage("golden mechanism case", "no such kind: " + kind);
  return entry->second;
}

/// Mamba in place of heads, which has weights and no queries.
NamedTensors run_recurformer_case(const GoldenFile& golden, at::ScalarType dtype) {
  const at::ScalarType wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
  std::map<std::string, at::Tensor> leaves;
  const auto leaf = [&](const std::string& name, at::ScalarType type) {
    return leaves[name] = golden.tensors.at(name).to(type).detach().clone().requires_grad_();
  };
  const auto weight = [&](const std::string& name, bool is_matrix) {
    model::Weight one;
    one.master = leaf(name, wide);
    one.compute = is_matrix ? one.master.detach().to(dtype) : one.master;
    return one;
  };
  const model::MambaWeights weights = {.w_in = weight("w_in", true),
                                       .conv_w = weight("conv_w", false),
                                       .conv_b = weight("conv_b", false),
                                       .w_x = weight("w_x", true),
                                       .w_dt = weight("w_dt", true),
                                       .b_dt = weight("b_dt", false),
                                       .a_log = weight("a_log", false),
                                       .d = weight("d", false)};
  const at::Tensor out = model::mamba_mix(weights, leaf("x", dtype), nullptr);
  torch::autograd::backward({out}, {golden.tensors.at("dout").to(dtype)});
  NamedTensors results = {{"out", out.detach()}};
  for (const auto& [name, value] : leaves) results["d" + name] = value.grad();
  return results;
}

}  // namespace

NamedTensors run_mechanism_case(const GoldenFile& golden, at::ScalarType dtype, at::Device device) {
  if (golden.metadata.at("kind") == "recurformer") return run_recurformer_case(golden, dtype);
  const auto leaf = [&](const char* name) {
    return golden.tensors.at(name).to(device, dtype).detach().clone().requires_grad_();
  };
  Inputs in{leaf("q"), leaf("k"), leaf("v"), {}, 1.0, &golden};
  in.scale = 1.0 / std::sqrt(static_cast<double>(in.q.size(3)));
  const auto slopes = golden.tensors.find("slopes");
  if (slopes != golden.tensors.end()) in.slopes = slopes->second.to(device);

  NamedTensors results;
  const Parameters parameters = Parameters::parse(golden.metadata.at("parameters"));
  const at::Tensor out = mechanism_of(golden.metadata.at("kind"))(in, parameters, results);
  torch::autograd::backward({out}, {golden.tensors.at("dout").to(device, dtype)});
  results["out"] = out;
  results["dq"] = in.q.grad();
  results["dk"] = in.k.grad();
  results["dv"] = in.v.grad();
  for (auto& [name, value] : results) value = value.detach().to(at::kCPU);
  return results;
}

}  // namespace gca::golden
