// Hugging Face checkpoints of model_type llama: what is read and what is refused, and what is written is read
// again. Logits against the library: gca_golden_check on tests/golden/llama.

#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/model/llama/llama_config.h"
#include "lib/model/llama/llama_files.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

const std::string kGolden = std::string(GCA_GOLDEN_DIR) + "/llama/";

nlohmann::json config_of(const std::string& name) {
  return nlohmann::json::parse(read_file(kGolden + name + "/config.json"));
}

/// A folder with copies of a golden checkpoint's files.
class Copy {
 public:
  explicit Copy(const std::string& name) {
    for (const auto& entry : std::filesystem::directory_iterator(kGolden + name))
      std::filesystem::copy(entry.path(), folder_.path());
  }
  std::string operator/(const std::string& name) const { return folder_ / name; }
  const std::string& path() const { return folder_.path(); }

  void set(const std::string& key, const nlohmann::json& value) const {
    nlohmann::json config = nlohmann::json::parse(read_file(*this / "config.json"));
    config[key] = value;
    write_file_atomically(*this / "config.json", config.dump());
  }
  model::LanguageModel load() const { return model::load_model(path(), at::kFloat); }

 private:
  TemporaryFolder folder_;
};

void rewrite(const std::string& path, const std::function<void(std::vector<SafetensorsTensor>&)>& change) {
  std::vector<SafetensorsTensor> tensors;
  std::vector<std::string> data;
  {
    const SafetensorsFile file(path);
    data.reserve(file.entries().size());
    for (const auto& [name, entry] : file.entries()) {
      data.emplace_back(reinterpret_cast<const char*>(entry.data), entry.size_bytes);
      tensors.push_back({name, entry.dtype, entry.shape, data.back().data()});
    }
  }
  change(tensors);
  write_safetensors(path, tensors, {});
}

}  // namespace

TEST_CASE("llama: a config.json in the old and in the new spelling") {
  const model::ModelConfig old = model::llama_config_from_json(config_of("old-config"), "config.json");
  CHECK(old.n_kv_heads == old.n_heads);
  CHECK(old.rope_theta == 10000.0);
  CHECK(old.norm_eps == 1e-6);
  CHECK_FALSE(old.tied_output);
  const model::ModelConfig yarn = model::llama_config_from_json(config_of("rope-yarn"), "config.json");
  CHECK(yarn.rope_type == "yarn");
  CHECK(yarn.rope_factor == 4.0);
  CHECK(yarn.rope_original_positions == 32);
  const model::ModelConfig tied = model::llama_config_from_json(config_of("tied-mqa"), "config.json");
  CHECK(tied.tied_output);
  CHECK(tied.n_kv_heads == 1);
  CHECK(tied.rope_theta == 50000.0);
}

TEST_CASE("llama: what this program does not compute is refused by key and value") {
  struct Refused {
    const char* key;
    nlohmann::json value;
    const char* says;
  };
  const std::vector<Refused> refused = {
      {"model_type", "qwen2", "model_type is \"qwen2\""},
      {"model_type", "mistral", "sliding_window is missing"},
      {"hidden_act", "gelu", "hidden_act is \"gelu\""},
      {"partial_rotary_factor", 0.5, "partial_rotary_factor is 0.5"},
      {"quantization_config", {{"bits", 4}}, "quantization_config is"},
      {"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}, "rope_scaling.rope_type is \"dynamic\""},
      {"rope_scaling", {{"type", "longrope"}, {"factor", 2.0}}, "rope_scaling.type is \"longrope\""},
      {"rope_scaling", {{"rope_type", "linear"}}, "rope_scaling.factor is missing"},
      {"rope_scaling",
       {{"rope_type", "yarn"}, {"factor", 2.0}, {"mscale", 1.0}},
       "rope_scaling.mscale is 1.0"},
      {"num_hidden_layers", "two", "num_hidden_layers is \"two\""},
      {"hidden_size", -1, "hidden_size is -1"},
      {"num_key_value_heads", 3, "num_key_value_heads 3"},
  };
  for (const Refused& one : refused) {
    CAPTURE(one.says);
    nlohmann::json config = config_of("gqa");
    config[one.key] = one.value;
    CHECK_THROWS_WITH_AS(model::llama_config_from_json(config, "config.json"), doctest::Contains(one.says),
                         Error);
  }
  nlohmann::json mistral = config_of("gqa");
  mistral["model_type"] = "mistral";
  mistral["sliding_window"] = nullptr;
  CHECK(model::llama_config_from_json(mistral, "config.json").self_attention == "full");
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"}) {
    nlohmann::json config = config_of("gqa");
    config.erase(key);
    CHECK_THROWS_WITH_AS(model::llama_config_from_json(config, "config.json"),
                         doctest::Contains((std::string(key) + " is missing").c_str()), Error);
  }
}

TEST_CASE("llama: damaged folders are refused by name") {
  SUBCASE("a tensor is missing") {
    const Copy copy("gqa");
    rewrite(copy / "model.safetensors", [](auto& tensors) {
      std::erase_if(tensors, [](const auto& one) { return one.name == "model.layers.1.mlp.up_proj.weight"; });
      tensors.push_back({"padding", "F32", {48, 32}, tensors.front().data});
      tensors.back().shape = tensors.front().shape;
    });
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains("model.layers.1.mlp.up_proj.weight"), Error);
  }
  SUBCASE("a tensor too many") {
    const Copy copy("gqa");
    rewrite(copy / "model.safetensors", [](auto& tensors) {
      tensors.push_back({"model.layers.0.self_attn.q_norm.weight", "F32", {1}, tensors.front().data});
    });
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains("q_norm"), Error);
  }
  SUBCASE("an output projection that is not the embedding, where they should be one") {
    const Copy copy("gqa");
    copy.set("tie_word_embeddings", true);
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains("tie_word_embeddings"), Error);
  }
  SUBCASE("no output projection") {
    const Copy copy("tied-mqa");
    copy.set("tie_word_embeddings", false);
    CHECK_THROWS_AS(copy.load(), Error);
  }
  SUBCASE("another size") {
    const Copy copy("gqa");
    copy.set("intermediate_size", 1000000);
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains("asks for"), Error);
  }
  SUBCASE("a shard is missing") {
    const Copy copy("bf16-shards");
    std::filesystem::remove(copy / "model-00002-of-00002.safetensors");
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains("model-00002-of-00002"), Error);
  }
  SUBCASE("the index puts a tensor into another shard, or out of the folder") {
    const Copy copy("bf16-shards");
    nlohmann::json index = nlohmann::json::parse(read_file(copy / "model.safetensors.index.json"));
    const std::string first = index["weight_map"].begin().key();
    index["weight_map"][first] = index["weight_map"][first] == "model-00001-of-00002.safetensors"
                                     ? "model-00002-of-00002.safetensors"
                                     : "model-00001-of-00002.safetensors";
    write_file_atomically(copy / "model.safetensors.index.json", index.dump());
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains(first.c_str()), Error);
    index["weight_map"][first] = "../elsewhere.safetensors";
    write_file_atomically(copy / "model.safetensors.index.json", index.dump());
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains("elsewhere"), Error);
  }
  SUBCASE("a shard is cut off") {
    const Copy copy("bf16-shards");
    std::filesystem::resize_file(copy / "model-00001-of-00002.safetensors", 20000);
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains("model-00001-of-00002"), Error);
  }
  SUBCASE("weights that would have to be unpickled") {
    const Copy copy("gqa");
    std::filesystem::rename(copy / "model.safetensors", copy / "pytorch_model.bin");
    CHECK_THROWS_WITH_AS(copy.load(), doctest::Contains("convert it to safetensors"), Error);
  }
}

TEST_CASE("llama: what is written is read again with the same bits") {
  for (const char* name : {"gqa", "old-config", "tied-mqa", "rope-llama3", "rope-linear-f16", "rope-yarn",
                           "head-dim", "bf16-shards", "bias"}) {
    CAPTURE(name);
    const model::LanguageModel model = model::load_model(kGolden + name, at::kFloat);
    const TemporaryFolder folder;
    model::save_llama(model, at::kFloat, folder.path(), "test");
    const model::LanguageModel again = model::load_model(folder.path(), at::kFloat);
    CHECK(model::model_config_to_json(again.config()) == model::model_config_to_json(model.config()));
    REQUIRE(again.weights().size() == model.weights().size());
    for (size_t i = 0; i < model.weights().size(); ++i)
      CHECK(at::equal(again.weights()[i].master, model.weights()[i].master));
    // And as a checkpoint of this program's own.
    const TemporaryFolder own;
    model::save_model(model, own.path());
    const model::LanguageModel imported = model::load_model(own.path(), at::kFloat);
    const TextBatch batch = batch_of(some_text(20, model.config().vocab_size), model.config());
    CHECK(
        at::equal(logits_in_segments(imported, batch.ids, {20}), logits_in_segments(model, batch.ids, {20})));
  }
}

TEST_CASE("llama: without masters a model gives the bits of one with them") {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto load = [&](model::Masters masters) {
      return model::load_model(kGolden + "rope-linear-f16", dtype, at::kCPU, model::WeightDtype::compute,
                               masters);
    };
    const model::LanguageModel kept = load(model::Masters::kept), none = load(model::Masters::none);
    // The embedding is read in the masters' type where there are masters.
    const TextBatch batch = batch_of(some_text(20, kept.config().vocab_size), kept.config());
    const double difference = largest_difference(logits_in_segments(none, batch.ids, {20}),
                                                 logits_in_segments(kept, batch.ids, {20}));
    CHECK(difference <= (dtype == at::kFloat ? 0.0 : 0.1));
    int64_t bytes = 0;
    for (const model::Weight& weight : none.weights())
      if (weight.master.dim() == 2) {
        CHECK(weight.compute.is_same(weight.master));
        bytes += static_cast<int64_t>(weight.master.element_size());
      }
    CHECK(bytes > 0);
  }
}
