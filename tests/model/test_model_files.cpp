// A checkpoint's model files: what is saved comes back, and damage is refused.

#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "lib/core/error.h"
#include "lib/core/files/safetensors_file.h"
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
  for (const auto& pair : {std::pair<const char*, nlohmann::json>{"num_attention_heads", 5},
                           {"chunk_size", 1},
                           {"hidden_size", -32},
                           {"num_key_value_heads", 3},
                           {"long_range", "magic"},
                           {"vocab_size", "many"},
                           {"alibi_slopes", {1.0}},
                           {"upper_group_layers", {1, 1}}}) {
    const auto& key = pair.first;
    const auto& value = pair.second;
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
  other.d_ff = 32;
  std::ofstream(folder + "/config.json")
      << model::model_config_to_json(model::LanguageModel(other, at::kFloat).config());
  CHECK_THROWS_WITH_AS(model::load_model(folder, at::kFloat), doctest::Contains("has shape"), Error);
  std::ofstream(folder + "/config.json") << model::model_config_to_json(model.config());
  CHECK(model::load_model(folder, at::kFloat).parameter_count() == model.parameter_count());
}

TEST_CASE("a checkpoint that has been through Python is read: keys of every config.json, tied outputs, F16") {
  const std::string folder = fresh_folder("from-python");
  const model::LanguageModel model = tiny_model(tiny_config());
  model::save_model(model, folder);
  const std::string weights = folder + "/model.safetensors", config = folder + "/config.json";
  const nlohmann::json own = model::model_config_to_json(model.config());

  // Weights as they were saved, with gca's metadata; a tool has written its keys into config.json.
  nlohmann::json foreign = own;
  foreign.update({{"transformers_version", "4.40.0"},
                  {"torch_dtype", "float32"},
                  {"_name_or_path", "a/b"},
                  {"use_cache", true},
                  {"bos_token_id", nullptr},
                  {"eos_token_id", nullptr},
                  {"id2label", {{"0", "LABEL_0"}}},
                  {"architectures", nullptr}});
  std::ofstream(config) << foreign;
  CHECK(model::load_model(folder, at::kFloat).parameter_count() == model.parameter_count());
  foreign["hidden_size"] = 64;  // what the model is must be what it was
  std::ofstream(config) << foreign;
  CHECK_THROWS_WITH_AS(model::load_model(folder, at::kFloat), doctest::Contains("config.json"), Error);
  foreign["hidden_size"] = own["hidden_size"];
  foreign["transformer_version"] = "4.40.0";
  std::ofstream(config) << foreign;
  CHECK_THROWS_AS(model::load_model(folder, at::kFloat), Error);
  std::ofstream(config) << own;

  // What another program writes.
  std::map<std::string, std::vector<std::byte>> data;
  std::map<std::string, SafetensorsTensor> tensors;
  {
    const SafetensorsFile file(weights);
    for (const auto& [name, entry] : file.entries()) {
      data[name].assign(entry.data, entry.data + entry.size_bytes);
      tensors[name] = {name, entry.dtype, entry.shape, data[name].data()};
    }
  }
  const auto write = [&] {
    std::vector<SafetensorsTensor> list;
    for (const auto& [name, tensor] : tensors) list.push_back(tensor);
    write_safetensors(weights, list, {{"format", "pt"}});
  };
  tensors["lm_head.weight"] = tensors.at("tok_emb");
  tensors["lm_head.weight"].name = "lm_head.weight";
  write();
  const model::LanguageModel tied = model::load_model(folder, at::kFloat);
  CHECK(at::equal(tied.weights()[0].master, model.weights()[0].master));
  std::vector<std::byte> untied = data.at("tok_emb");
  untied[5] ^= std::byte{1};
  tensors["lm_head.weight"].data = untied.data();
  write();
  CHECK_THROWS_WITH_AS(model::load_model(folder, at::kFloat),
                       doctest::Contains("lm_head.weight differs from tok_emb"), Error);
  tensors["lm_head.weight"].name = "score.weight";
  write();
  CHECK_THROWS_WITH_AS(model::load_model(folder, at::kFloat),
                       doctest::Contains("holds the tensor score.weight"), Error);
  tensors.erase("lm_head.weight");

  // F16: the values that halves give, by LibTorch.
  std::vector<at::Tensor> halves;
  for (const model::Weight& weight : model.weights()) {
    halves.push_back(weight.master.to(at::kHalf).contiguous());
    tensors[weight.name].dtype = "F16";
    tensors[weight.name].data = halves.back().const_data_ptr();
  }
  write();
  const model::LanguageModel rounded = model::load_model(folder, at::kFloat);
  for (size_t i = 0; i < model.weights().size(); ++i)
    CHECK(at::equal(rounded.weights()[i].master, halves[i].to(at::kFloat)));
  tensors["tok_emb"].dtype = "I16";
  write();
  CHECK_THROWS_WITH_AS(model::load_model(folder, at::kFloat), doctest::Contains("F32, BF16 and F16"), Error);
}

TEST_CASE("weights that another program changed under gca's old checksum say so") {
  const std::string folder = fresh_folder("old-checksum");
  const model::LanguageModel model = tiny_model(tiny_config());
  model::save_model(model, folder);
  const std::string weights = folder + "/model.safetensors";
  std::string bytes;
  {
    std::ifstream in(weights, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  std::ofstream(weights, std::ios::binary) << bytes;
  CHECK_THROWS_WITH_AS(model::load_model(folder, at::kFloat), doctest::Contains("gca.checksum"), Error);
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
    config.self_attention = kind->self_attention;
    config.retrieval_groups = 3;
    const nlohmann::json json = model::model_config_to_json(config);
    const auto is_own = [&](const std::string& key) {
      // Some are what the programs of Hugging Face expect in any config.json.
      return model::model_config_preamble().contains(key) ||
             std::any_of(kind->fields.begin(), kind->fields.end(),
                         [&](const auto& field) { return field.key == key; });
    };
    for (const model::BackboneKind* other : model::backbone_kinds())
      for (const auto& field : other->fields) CHECK(json.contains(field.key) == is_own(field.key));
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
