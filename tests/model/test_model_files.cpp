// A checkpoint's model files: what is saved comes back, and damage is refused.

#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "lib/core/error.h"
#include "lib/core/safetensors_file.h"
#include "lib/model/model_fingerprint.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

std::string fresh_folder(const std::string& name) {
  const auto path = std::filesystem::temp_directory_path() / ("gca-test-model-" + name);
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path.string();
}

}  // namespace

TEST_CASE("a saved model loads with the same configuration and bits") {
  const std::string folder = fresh_folder("round-trip");
  const model::LanguageModel model = tiny_model(tiny_config());
  model::save_model(model, folder);
  const model::LanguageModel loaded = model::load_model(folder, at::kFloat);
  CHECK(model::model_config_to_json(loaded.config()) == model::model_config_to_json(model.config()));
  REQUIRE(loaded.weights().size() == model.weights().size());
  for (size_t i = 0; i < model.weights().size(); ++i) {
    CHECK(loaded.weights()[i].name == model.weights()[i].name);
    CHECK(at::equal(loaded.weights()[i].master, model.weights()[i].master));
  }
}

TEST_CASE("config.json: unknown keys name the nearest known one, sizes are checked") {
  const nlohmann::json good =
      model::model_config_to_json(model::LanguageModel(tiny_config(), at::kFloat).config());
  nlohmann::json typo = good;
  typo["chunk_sise"] = 8;
  CHECK_THROWS_WITH_AS(model::model_config_from_json(typo, "config.json"), doctest::Contains("chunk_size"),
                       Error);
  for (const auto& [key, value] : {std::pair<const char*, nlohmann::json>{"num_attention_heads", 5},
                                   {"chunk_size", 1},
                                   {"hidden_size", -32},
                                   {"num_key_value_heads", 3},
                                   {"long_range", "magic"},
                                   {"vocab_size", "many"},
                                   {"alibi_slopes", {1.0}},
                                   {"upper_group_layers", {1, 1}}}) {
    CAPTURE(key);
    nlohmann::json bad = good;
    bad[key] = value;
    CHECK_THROWS_AS(model::model_config_from_json(bad, "config.json"), Error);
  }
}

TEST_CASE("missing, truncated and mismatched model files are refused") {
  const std::string folder = fresh_folder("damage");
  CHECK_THROWS_AS(model::load_model(folder, at::kFloat), Error);
  const model::LanguageModel model = tiny_model(tiny_config());
  model::save_model(model, folder);
  const std::string weights = folder + "/model.safetensors";
  const auto size = std::filesystem::file_size(weights);
  std::filesystem::resize_file(weights, size - 5);
  CHECK_THROWS_AS(model::load_model(folder, at::kFloat), Error);
  model::save_model(model, folder);
  model::ModelConfig other = tiny_config();
  other.d_ff = 64;
  std::ofstream(folder + "/config.json")
      << model::model_config_to_json(model::LanguageModel(other, at::kFloat).config());
  CHECK_THROWS_WITH_AS(model::load_model(folder, at::kFloat), doctest::Contains("config.json"), Error);

  // A checkpoint of another program tells no fingerprints: there the sizes decide.
  const SafetensorsFile file(weights);
  std::vector<SafetensorsTensor> tensors;
  for (const auto& [name, entry] : file.entries())
    tensors.push_back({name, entry.dtype, entry.shape, entry.data});
  write_safetensors(folder + "/foreign.safetensors", tensors, {});
  std::filesystem::rename(folder + "/foreign.safetensors", weights);
  CHECK_THROWS_WITH_AS(model::load_model(folder, at::kFloat), doctest::Contains("asks for"), Error);
  std::ofstream(folder + "/config.json") << model::model_config_to_json(model.config());
  CHECK(model::load_model(folder, at::kFloat).parameter_count() == model.parameter_count());
}

TEST_CASE(
    "a model's fingerprint of the first version is known as its own: its sessions and libraries stay of "
    "use") {
  const std::string examples = std::string(GCA_SOURCE_DIR) + "/examples/";
  CHECK(model::is_fingerprint_of("f78484766c9f2f498f3ef199db449ad0bf983954400ded38aec8f439469093c8",
                                 model::load_model(examples + "passkey", at::kFloat)));
  CHECK(model::is_fingerprint_of("2cb500b2c6ae63f30e3afe2e25a66257766621360315bff950601ef422c39559",
                                 model::load_model(examples + "multihop", at::kBFloat16)));
}

TEST_CASE("config.json has the keys that all kinds share and those of its own kind, and reads any") {
  for (const model::BackboneKind* kind : model::backbone_kinds()) {
    model::ModelConfig config = tiny_config();
    config.long_range = kind->name;
    config.retrieval_groups = 3;
    const nlohmann::json json = model::model_config_to_json(config);
    for (const model::BackboneKind* other : model::backbone_kinds())
      for (const auto& field : other->fields) CHECK(json.contains(field.key) == (other == kind));
    CHECK(json.at("sliding_window") == config.window_size);
    const model::ModelConfig read = model::model_config_from_json(json, "config.json");
    CHECK(nlohmann::json(model::model_config_to_json(read)) == json);
    // Earlier versions wrote all keys for every kind.
    nlohmann::json all = fields_to_json(config, model::model_config_fields());
    all["model_type"] = "gca_drt";
    CHECK(fields_to_json(model::model_config_from_json(all, "config.json"), model::model_config_fields()) ==
          fields_to_json(config, model::model_config_fields()));
  }
}
