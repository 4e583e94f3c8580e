// What gca 0.1.0 wrote, kept in tests/golden/v0.1.0, still opens, and damage in it is still found. The model
// is that of examples/passkey, of the same version.

#include <doctest/doctest.h>

#include <filesystem>

#include "tests/support/run_gca.h"

namespace {

const std::string kOld = GCA_SOURCE_DIR "/tests/golden/v0.1.0/";
const std::string kCheckpoint = GCA_SOURCE_DIR "/examples/passkey";

using Words = std::vector<std::string>;

ProcessResult generate_from(const std::string& memory, const std::string& prompt) {
  return run_gca({"generate", "--checkpoint", kCheckpoint, "--dtype", "bf16", "--load-memory", memory,
                  "--prompt", prompt, "--max-new-tokens", "2", "--temperature", "0", "--json"});
}

/// Copies a folder of the old files and flips a bit in the middle of one of them.
std::string damaged_copy(const TemporaryFolder& folder, const std::string& name, const std::string& file) {
  std::filesystem::copy(kOld + name, folder / name, std::filesystem::copy_options::recursive);
  const std::string path = (folder / name) + "/" + file;
  std::string bytes = gca::read_file(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  gca::write_file_atomically(path, bytes);
  return folder / name;
}

void check_damage_is_found(const ProcessResult& result, const std::string& path) {
  CAPTURE(result.err);
  CHECK(result.status == 2);
  CHECK(result.err.find(path) != std::string::npos);
}

}  // namespace

TEST_CASE("old token shards open") {
  const TemporaryFolder folder;
  std::filesystem::copy(kOld + "tokens", folder / "tokens");
  std::filesystem::copy(kCheckpoint + "/tokenizer.model", folder / "tokens/tokenizer.model");
  const ProcessResult text = run_gca({"tokenize", "--decode", folder / "tokens"});
  REQUIRE_MESSAGE(text.status == 0, text.err);
  CHECK(text.out == gca::read_file(kOld + "text.txt"));

  const TemporaryFolder other;
  const std::string damaged = damaged_copy(other, "tokens", "tokens-00000.bin");
  std::filesystem::copy(kCheckpoint + "/tokenizer.model", damaged + "/tokenizer.model");
  check_damage_is_found(run_gca({"tokenize", "--decode", damaged}), damaged);
}

TEST_CASE("an old library of chunk memory opens") {
  // Two chunks of 63 tokens: the retrieval after the first chunk of the prompt reads the library.
  const std::string prompt = gca::read_file(kOld + "text.txt");
  const ProcessResult result = generate_from(kOld + "library", prompt);
  REQUIRE_MESSAGE(result.status == 0, result.err);
  CHECK(result.json()["result"]["new_tokens"] == 2);
  const ProcessResult info = run_gca({"memory", "info", kOld + "library", "--json"});
  REQUIRE(info.status == 0);
  CHECK(info.json()["result"]["chunks"] == 2);

  const TemporaryFolder folder;
  const std::string damaged = damaged_copy(folder, "library", "part-00000.records");
  check_damage_is_found(generate_from(damaged, prompt), damaged);
}

TEST_CASE("an old session goes on") {
  const ProcessResult result = generate_from(kOld + "session", " and");
  REQUIRE_MESSAGE(result.status == 0, result.err);
  CHECK(result.json()["result"]["past_tokens"] == 91);

  const TemporaryFolder folder;
  const std::string damaged = damaged_copy(folder, "session", "session.safetensors");
  check_damage_is_found(generate_from(damaged, " and"), damaged);
}
