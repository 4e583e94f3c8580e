#include "lib/generate/session_index.h"

#include "lib/core/error.h"
#include "lib/core/json/json_number.h"
#include "lib/data/sealed_json.h"

namespace gca::generate {

void write_session_index(const std::string& path, const SessionIndex& index) {
  nlohmann::ordered_json json = {
      {"format", kSessionFormat}, {"position", index.position}, {"drawn_tokens", index.drawn_tokens},
      {"dtype", index.dtype},     {"model", index.model},       {"tokenizer", index.tokenizer},
      {"tensors", index.tensors}};
  if (!index.kv_policy.empty()) json["kv_policy"] = index.kv_policy;
  data::write_sealed_json(path, json);
}

SessionIndex read_session_index(const std::string& path) {
  const nlohmann::json json = data::read_sealed_json(path, kSessionFormat, "gca generate --save-memory");
  SessionIndex index;
  try {
    index.position = whole_number(json.at("position"));
    index.drawn_tokens = whole_number(json.at("drawn_tokens"));
    json.at("dtype").get_to(index.dtype);
    json.at("model").get_to(index.model);
    json.at("tokenizer").get_to(index.tokenizer);
    json.at("tensors").get_to(index.tensors);
    index.kv_policy = json.value("kv_policy", "");
  } catch (const nlohmann::json::exception& error) {
    fail_usage(path, std::string("is damaged (") + error.what() + ")", "save the session again");
  }
  if (index.position < 0 || index.drawn_tokens < 0)
    fail_usage(path, "holds numbers that no session has", "save the session again");
  return index;
}

}  // namespace gca::generate
