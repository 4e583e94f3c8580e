#include "lib/model/llama/gguf_llama.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <array>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/core/error.h"
#include "lib/model/model_cost.h"

namespace gca::model {
namespace {

struct Name {
  std::string_view here, there;
};

constexpr std::array<Name, 3> kOfModel = {
    {{"tok_emb", "token_embd.weight"}, {"out_norm", "output_norm.weight"}, {"lm_head", "output.weight"}}};

/// Within a layer, without ".weight".
constexpr std::array<Name, 9> kOfLayer = {{{"attn_norm", "attn_norm"},
                                           {"attn.wq", "attn_q"},
                                           {"attn.wk", "attn_k"},
                                           {"attn.wv", "attn_v"},
                                           {"attn.wo", "attn_output"},
                                           {"mlp_norm", "ffn_norm"},
                                           {"mlp.w_gate", "ffn_gate"},
                                           {"mlp.w_up", "ffn_up"},
                                           {"mlp.w_down", "ffn_down"}}};

/// "lower.3.attn.wq" is "blk.3.attn_q.weight" there.
std::string gguf_name(const std::string& name) {
  for (const auto& [here, there] : kOfModel)
    if (name == here) return std::string(there);
  const size_t first = name.find('.'), second = name.find('.', first + 1);
  for (const auto& [here, there] : kOfLayer)
    if (std::string_view(name).substr(second + 1) == here)
      return fmt::format("blk.{}.{}.weight", name.substr(first + 1, second - first - 1), there);
  fail_run(name, "is no weight of a Llama");
}

/// (heads * dh, d) with pair e and half b of a head in row 2 e + b -> row b dh/2 + e.
at::Tensor in_two_halves(const at::Tensor& rows, int64_t heads) {
  const int64_t half = rows.size(0) / heads / 2;
  return rows.view({heads, half, 2, -1}).transpose(1, 2).reshape(rows.sizes());
}

void refuse_unless(bool condition, const GgufFile& file, const std::string& what,
                   const std::string& readable) {
  if (!condition) fail_usage(file.path(), what, readable);
}

void read_rope(const GgufFile& file, ModelConfig& config) {
  const std::string prefix = "llama.rope.";
  if (file.has(prefix + "freq_base")) config.rope_theta = file.number(prefix + "freq_base");
  if (file.has(prefix + "dimension_count")) {
    const int64_t rotated = file.whole_number(prefix + "dimension_count");
    refuse_unless(rotated == config.head_dim(), file,
                  fmt::format("llama.rope.dimension_count is {}", rotated),
                  fmt::format("{} can be read: every element of a head is rotated", config.head_dim()));
  }
  if (!file.has(prefix + "scaling.type")) return;
  const std::string type = file.text(prefix + "scaling.type");
  refuse_unless(type == "none" || type == "linear", file,
                fmt::format("llama.rope.scaling.type is \"{}\"", type), "none and linear can be read");
  if (type != "linear") return;
  config.rope_type = "linear";
  config.rope_factor = file.number(prefix + "scaling.factor");
}

}  // namespace

ModelConfig gguf_config(const GgufFile& file) {
  const std::string architecture = file.text("general.architecture");
  refuse_unless(architecture == "llama", file, fmt::format("general.architecture is \"{}\"", architecture),
                "llama can be read");
  const auto size = [&](const std::string& key) { return file.whole_number("llama." + key); };
  ModelConfig config;
  config.self_attention = "full";
  config.long_range = "none";
  config.position = "rope";
  const GgufTensor& embedding = file.at("token_embd.weight");
  refuse_unless(embedding.shape.size() == 2, file, "token_embd.weight is no matrix", "copy the file again");
  config.vocab_size = embedding.shape[0];
  config.d_model = size("embedding_length");
  config.d_ff = size("feed_forward_length");
  config.n_lower_layers = size("block_count");
  config.n_upper_layers = 0;
  config.n_heads = size("attention.head_count");
  config.n_kv_heads =
      file.has("llama.attention.head_count_kv") ? size("attention.head_count_kv") : config.n_heads;
  if (file.has("llama.attention.key_length")) config.head_size = size("attention.key_length");
  config.norm_eps = file.number("llama.attention.layer_norm_rms_epsilon");
  config.tied_output = !file.tensors().contains("output.weight");
  config.max_positions = size("context_length");
  config.validate(file.path());
  read_rope(file, config);
  return config;
}

LanguageModel load_gguf(const GgufFile& file) {
  const ModelConfig config = gguf_config(file);
  double held = 0;
  for (const auto& [name, tensor] : file.tensors())
    held += static_cast<double>(tensor.row_count()) * static_cast<double>(tensor.row_length());
  // Before so much memory is asked for.
  refuse_unless(
      held >= parameter_count(config), file,
      fmt::format("its metadata ask for {:.0f} weights, it has {:.0f}", parameter_count(config), held),
      "copy the file again");
  LanguageModel model(config, at::kFloat);
  const at::NoGradGuard no_grad;
  std::set<std::string> known;
  for (Weight& weight : model.weights()) {
    const std::string name = gguf_name(weight.name);
    known.insert(name);
    const GgufTensor& tensor = file.at(name);
    if (tensor.shape != weight.master.sizes().vec())
      fail_usage(file.path(),
                 fmt::format("{} has shape ({}), not ({})", name, fmt::join(tensor.shape, ", "),
                             fmt::join(weight.master.sizes().vec(), ", ")),
                 "copy the file again");
    at::Tensor values = at::empty(weight.master.sizes(), at::kFloat);
    decode_gguf_rows(tensor, 0, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
    if (name.find(".attn_q.") != std::string::npos) values = in_two_halves(values, config.n_heads);
    if (name.find(".attn_k.") != std::string::npos) values = in_two_halves(values, config.n_kv_heads);
    weight.master.copy_(values);
  }
  for (const auto& [name, tensor] : file.tensors())
    if (!known.contains(name))
      fail_usage(
          file.path(), fmt::format("holds the tensor {}, which a Llama does not have", name),
          "models of architecture llama with default or linear rotary angles, and no biases, can be read");
  return model;
}

nlohmann::ordered_json gguf_token_ids(const GgufFile& file) {
  nlohmann::ordered_json ids = nlohmann::ordered_json::object();
  for (const char* key : {"bos_token_id", "eos_token_id"})
    if (const std::string there = std::string("tokenizer.ggml.") + key; file.has(there))
      ids[key] = file.whole_number(there);
  return ids;
}

}  // namespace gca::model
