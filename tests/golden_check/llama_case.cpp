#include "tests/golden_check/llama_case.h"

#include <ATen/core/grad_mode.h>

#include <filesystem>

#include "lib/model/language_model.h"
#include "tests/golden_check/model_case.h"

namespace gca::golden {

bool is_llama_case(const std::string& path) {
  return std::filesystem::exists(path + "/expected.safetensors");
}

GoldenFile load_llama_case(const std::string& folder) {
  return load_golden_file(folder + "/expected.safetensors");
}

NamedTensors run_llama_case(const std::string& folder, const GoldenFile& golden, at::ScalarType dtype,
                            uint64_t jitter) {
  // Masters take the jitter; without it the model is opened as for inference.
  model::LanguageModel model = model::load_model(folder, dtype, at::kCPU, model::WeightDtype::compute,
                                                 jitter > 0 ? model::Masters::kept : model::Masters::none);
  if (jitter > 0) jitter_weights(model, jitter);
  const at::NoGradGuard no_grad;
  const std::unique_ptr<model::Past> past = model.begin();
  const at::Tensor ids = golden.tensors.at("input/tokens").to(at::kLong);
  return {{"logits", model.logits(model.forward(ids, *past, {}))}};
}

}  // namespace gca::golden
