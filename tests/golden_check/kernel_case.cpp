#include "tests/golden_check/kernel_case.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "kernels/grouped_cross_attention/grouped_cross_attention.h"
#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/core/error.h"

namespace gca::golden {
namespace {

double number(const GoldenFile& golden, const char* key) {
  const auto entry = golden.metadata.find(key);
  if (entry == golden.metadata.end()) fail_usage("golden kernel case", std::string("has no metadata ") + key);
  return std::stod(entry->second);
}

bool is_window_case(const GoldenFile& golden) {
  return golden.metadata.at("kind") == "window-attention";
}

NamedTensors run_window_case(const GoldenFile& golden, at::ScalarType dtype, at::Device device) {
  const auto in = [&](const char* name) { return golden.tensors.at(name).to(device, dtype); };
  const at::Tensor slopes = golden.tensors.at("slopes").to(device);
  const auto window = static_cast<int64_t>(number(golden, "window"));
  const double scale = number(golden, "scale");
  auto [out, lse] =
      kernels::sliding_window_attention_forward(in("q"), in("k"), in("v"), slopes, window, scale);
  auto [dq, dk, dv] = kernels::sliding_window_attention_backward(in("dout"), in("q"), in("k"), in("v"), out,
                                                                 lse, slopes, window, scale);
  return {{"out", out}, {"lse", lse}, {"dq", dq}, {"dk", dk}, {"dv", dv}};
}

NamedTensors run_gca_case(const GoldenFile& golden, at::ScalarType dtype, at::Device device) {
  const at::Tensor& shape = golden.tensors.at("q");  // (B, C, S, H, dh)
  const int64_t S = shape.size(2);
  const auto positions = [&](const char* name) {
    return golden.tensors.at(name)
        .to(device, dtype)
        .reshape({shape.size(0), shape.size(1) * S, shape.size(3), shape.size(4)});
  };
  const at::Tensor k = golden.tensors.at("k").to(device, dtype);
  const at::Tensor v = golden.tensors.at("v").to(device, dtype);
  const at::Tensor idx = golden.tensors.at("idx").to(device);
  const at::Tensor w = golden.tensors.at("w").to(device);
  const kernels::ReadingLayout layout{.chunk_size = S, .first_offset = 0};
  const double scale = number(golden, "scale");
  const bool softmax_one = number(golden, "softmax_one") != 0;
  auto [out, lse] =
      kernels::grouped_cross_attention_forward(positions("q"), k, v, idx, w, layout, scale, softmax_one);
  auto [dq, dk, dv, dw] = kernels::grouped_cross_attention_backward(positions("dout"), positions("q"), k, v,
                                                                    idx, w, lse, layout, scale, softmax_one);
  const at::Tensor present = idx.ge(0).to(dw.scalar_type());
  return {{"out", out.reshape(shape.sizes())},
          {"dq", dq.reshape(shape.sizes())},
          {"dk", dk},
          {"dv", dv},
          {"dw", dw * present}};
}

}  // namespace

NamedTensors run_kernel_case(const GoldenFile& golden, at::ScalarType dtype, at::Device device) {
  NamedTensors results =
      is_window_case(golden) ? run_window_case(golden, dtype, device) : run_gca_case(golden, dtype, device);
  for (auto& [name, value] : results) value = value.to(at::kCPU);
  return results;
}

double largest_score(const GoldenFile& golden) {
  // |q . k| <= |q| |k|, a bound that is close enough for a tolerance.
  const auto largest_row = [&](const char* name) {
    return golden.tensors.at(name).to(at::kDouble).square().sum(-1).max().sqrt().item<double>();
  };
  return largest_row("q") * largest_row("k") * number(golden, "scale");
}

}  // namespace gca::golden
