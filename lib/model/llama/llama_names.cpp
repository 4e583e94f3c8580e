#include "lib/model/llama/llama_names.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

#include "lib/core/error.h"

namespace gca::model {
namespace {

struct Name {
  std::string_view here, there;
};

constexpr std::array<Name, 3> kOfModel = {
    {{"tok_emb", kLlamaEmbedding}, {"out_norm", "model.norm.weight"}, {"lm_head", kLlamaOutput}}};

/// Within a layer, without ".weight".
constexpr std::array<Name, 9> kOfLayer = {{{"attn_norm", "input_layernorm"},
                                           {"attn.wq", "self_attn.q_proj"},
                                           {"attn.wk", "self_attn.k_proj"},
                                           {"attn.wv", "self_attn.v_proj"},
                                           {"attn.wo", "self_attn.o_proj"},
                                           {"mlp_norm", "post_attention_layernorm"},
                                           {"mlp.w_gate", "mlp.gate_proj"},
                                           {"mlp.w_up", "mlp.up_proj"},
                                           {"mlp.w_down", "mlp.down_proj"}}};

}  // namespace

std::string llama_name(const std::string& name, const ModelConfig& config) {
  for (const auto& [here, there] : kOfModel)
    if (name == here) return std::string(there);
  constexpr std::string_view kBias = "_bias";
  const size_t first = name.find('.'), second = name.find('.', first + 1);
  if (first != std::string::npos && second != std::string::npos) {
    const int64_t before = name.starts_with("upper.") ? config.n_lower_layers : 0;
    const int64_t layer = before + std::stoll(name.substr(first + 1, second - first - 1));
    std::string_view part = std::string_view(name).substr(second + 1);
    const bool is_bias = part.ends_with(kBias);
    if (is_bias) part.remove_suffix(kBias.size());
    for (const auto& [here, there] : kOfLayer)
      if (part == here)
        return fmt::format("model.layers.{}.{}.{}", layer, there, is_bias ? "bias" : "weight");
  }
  fail_run(name, "is no weight of a Llama");
}

bool is_unused_in_llama(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq");
}

}  // namespace gca::model
