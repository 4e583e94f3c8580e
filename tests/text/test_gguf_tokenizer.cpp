// Tokenizers in GGUF files that the Python package gguf wrote (tests/golden/gguf/make_gguf.py).

#include "lib/text/byte_level_bpe/gguf_tokenizer.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "lib/core/files/atomic_file.h"
#include "lib/text/tokenizer.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using nlohmann::json;

namespace {

const std::string kGolden = GCA_SOURCE_DIR "/tests/golden/";

}  // namespace

TEST_CASE("the tokenizer of a GGUF file gives the ids of the one it was made from") {
  for (const std::string name : {"gpt2", "smollm", "llama3", "qwen2"}) {
    CAPTURE(name);
    const GgufFile file(kGolden + "gguf/" + name + ".gguf");
    const text::Tokenizer tokenizer = text::Tokenizer::from_serialized(text::tokenizer_json_of(file), name);
    for (const json& expected : json::parse(read_file(kGolden + "tokenizers/" + name + "/expected.json"))) {
      const auto ids = tokenizer.encode(expected["text"].get<std::string>());
      CHECK(ids == expected["plain_ids"].get<std::vector<int32_t>>());
      auto with_prefix = tokenizer.prefix_ids();
      with_prefix.insert(with_prefix.end(), ids.begin(), ids.end());
      CHECK(with_prefix == expected["ids"].get<std::vector<int32_t>>());
    }
  }
}

TEST_CASE("another kind of tokenizer in a GGUF file is refused by its name") {
  const TemporaryFolder folder;
  const std::string content = read_file(kGolden + "gguf/smollm.gguf");
  const struct {
    const char* from;
    const char* to;
  } changes[] = {{"gpt2", "gpt7"}, {"smollm", "falcon"}};
  for (const auto& change : changes) {
    std::string changed = content;
    changed.replace(changed.find(change.from), std::string(change.from).size(), change.to);
    write_file_atomically(folder / "changed.gguf", changed);
    const auto error = error_of([&] { text::tokenizer_json_of(GgufFile(folder / "changed.gguf")); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says(change.to));
  }
  const auto error = error_of([&] { text::tokenizer_json_of(GgufFile(kGolden + "gguf/tensors.gguf")); });
  REQUIRE(error);
  CHECK(error->says("tokenizer.ggml.model"));
}
