#include "lib/model/model_fingerprint.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "lib/core/checksums/checksum.h"
#include "lib/core/checksums/sha256.h"
#include "lib/model/backbone_kinds.h"

namespace gca::model {
namespace {

// The keys of the first version, in its order, whatever the order is now.
constexpr std::array<std::string_view, 24> kFirstKeys = {
    "vocab_size",          "landmark_token_id",  "hidden_size",        "num_attention_heads",
    "num_key_value_heads", "intermediate_size",  "num_lower_layers",   "num_upper_layers",
    "retrieval_groups",    "upper_group_layers", "num_encoder_layers", "sliding_window",
    "chunk_size",          "chunk_top_k",        "long_range",         "softmax_off_by_one",
    "residual_blend",      "gumbel_scale",       "rms_norm_eps",       "encoder_rms_norm_eps",
    "rope_theta",          "alibi_slopes",       "initializer_range",  "output_initializer_scale"};

/// A configuration as the first version wrote it, and later keys where they are not at their defaults: what
/// an earlier version kept for a model stays of use to it.
nlohmann::ordered_json stable_json(const ModelConfig& config) {
  const nlohmann::ordered_json values = fields_to_json(config, model_config_fields());
  const nlohmann::ordered_json defaults = fields_to_json(ModelConfig(), model_config_fields());
  nlohmann::ordered_json json = model_config_preamble();
  for (const std::string_view key : kFirstKeys) json[std::string(key)] = values.at(std::string(key));
  for (const auto& [key, value] : values.items())
    if (!json.contains(key) && value != defaults.at(key)) json[key] = value;
  return json;
}

constexpr const char* kXxh3Mark = "xxh3:";  ///< before the digest; gca 0.1.0 wrote none

std::string digest_of(const LanguageModel& model, ChecksumKind kind) {
  Sha256 digest;
  digest.update(stable_json(model.config()).dump());
  for (const Weight& weight : model.weights()) {
    const at::Tensor master = weight.master.detach().to(at::kCPU).contiguous();
    Checksum checksum(kind);  // much faster than SHA-256, and no weights are made to deceive
    checksum.update(master.const_data_ptr(), master.nbytes());
    digest.update(weight.name + checksum.text());
  }
  return (kind == ChecksumKind::xxh3 ? kXxh3Mark : "") + digest.hex_digest();
}

}  // namespace

std::string model_fingerprint(const LanguageModel& model) {
  return digest_of(model, ChecksumKind::xxh3);
}

bool is_fingerprint_of(const std::string& fingerprint, const LanguageModel& model) {
  return fingerprint == digest_of(model, checksum_kind_of(fingerprint));
}

}  // namespace gca::model
