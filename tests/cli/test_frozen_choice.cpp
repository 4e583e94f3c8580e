// --set retriever=frozen: chunks chosen by vectors that another program made of the data.

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "lib/core/files/safetensors_file.h"
#include "lib/core/half_float.h"
#include "tests/cli/launched.h"
#include "tests/cli/nano_run.h"
#include "tests/cli/report_of.h"
#include "tests/cli/tiny_run.h"
#include "tests/support/chunk_vectors_file.h"

using namespace gca;

namespace {

constexpr int64_t kChunkSize = 16;

/// Tokens with chunk vectors of examples/chunk_vectors.py, and sequences of 16 chunks of them.
class FrozenData {
 public:
  FrozenData() {
    setenv("OMP_WAIT_POLICY", "passive", 0);
    write_file_atomically(folder_ / "book.txt", NanoRun::pages(0, 120));
    write_file_atomically(folder_ / "other.txt", NanoRun::pages(500, 60));
    NanoRun::must_run(
        {"tokenize", book(), folder_ / "other.txt", "--output", tokens(), "--train-vocab", "400"});
    write_vectors();
    NanoRun::must_run({"chunk", "--tokens", tokens(), "--output", sequences(), "--chunk-size", "16",
                       "--context", "240", "--valid-fraction", "0.3"});
  }

  std::string operator/(const std::string& name) const { return folder_ / name; }
  std::string book() const { return folder_ / "book.txt"; }
  std::string tokens() const { return folder_ / "tokens"; }
  std::string sequences() const { return folder_ / "sequences"; }
  std::string vectors() const { return tokens() + "/chunk-vectors.safetensors"; }
  nlohmann::json index() const { return nlohmann::json::parse(read_file(tokens() + "/index.json")); }

  void write_vectors(const std::string& more = "") const {
    const ProcessResult result =
        run_program({"sh", "-c",
                     std::string(GCA_PYTHON) + " " + GCA_SOURCE_DIR + "/examples/chunk_vectors.py " +
                         tokens() + " --chunk-size 16 --size 24 " + more});
    INFO(result.err);
    REQUIRE(result.status == 0);
  }

  /// Words of gca pretrain on the sequences.
  std::vector<std::string> training(const std::string& output,
                                    const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"pretrain",
                                      "--data",
                                      sequences(),
                                      "--config",
                                      "nano",
                                      "--set",
                                      "context=240",
                                      "--set",
                                      "sliding_window=16",
                                      "--batch",
                                      "4",
                                      "--set",
                                      "retriever=frozen",
                                      "--dtype",
                                      "fp32",
                                      "--output",
                                      output,
                                      "--threads",
                                      "1",
                                      "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

 private:
  TemporaryFolder folder_;
};

nlohmann::json trainer_state(const std::string& run) {
  return nlohmann::json::parse(read_file(run + "/checkpoint/trainer_state.json"));
}

}  // namespace

TEST_CASE("frozen choice: example vectors are rows of length 1, near where chunks share rare tokens") {
  const FrozenData data;
  const SafetensorsFile file(data.vectors());
  const SafetensorsEntry& vectors = file.at("vectors");
  int64_t chunks = 0;
  const nlohmann::json index = data.index();
  for (const auto& document : index["documents"]) chunks += (document["tokens"].get<int64_t>() + 14) / 15;
  CHECK(vectors.shape == std::vector<int64_t>{chunks, 24});
  CHECK(vectors.dtype == "F16");
  CHECK(file.metadata().at("chunk_size") == "16");
  CHECK(file.metadata().at("tokens") == index["seal"]);
  for (int64_t row = 0; row < chunks; ++row) {
    double square = 0;
    for (int64_t i = 0; i < 24; ++i) {
      uint16_t bits = 0;
      std::memcpy(&bits, vectors.data + 2 * (row * 24 + i), sizeof(bits));
      square += std::pow(half_to_float(bits), 2);
    }
    CHECK(std::abs(square - 1) <= 0.01);
  }
}

TEST_CASE("frozen choice: a run is trained, resumed to the same bits and measured by its vectors") {
  const FrozenData data;
  NanoRun::must_run(data.training(data / "run", {"--steps", "6"}));
  NanoRun::must_run(data.training(data / "halves", {"--steps", "6", "--stop-at", "3"}));
  NanoRun::must_run(resumed(data / "halves"));
  CHECK(checkpoint_bytes(data / "run") == checkpoint_bytes(data / "halves"));
  const nlohmann::json reading = trainer_state(data / "run")["valid"].back()["reading"];
  CHECK(reading["learned"] != reading["random"]);
  CHECK(reading["spread"] > 0);

  const std::vector<std::string> evaluation = {"eval",    "--checkpoint",   data / "run",
                                               "--data",  data.sequences(), "--context",
                                               "240,480", "--retriever",    "learned,random,none"};
  const nlohmann::json before = report_of(evaluation, "eval");
  REQUIRE(before["contexts"].size() == 6);
  const double learned = before["contexts"][0]["loss"];
  CHECK(before["contexts"][1]["loss"] != learned);
  CHECK(before["contexts"][2]["loss"] != learned);
  // In short segments, and of the tokens instead of sequences, the vectors are the same.
  std::vector<std::string> short_segments = evaluation;
  short_segments.insert(short_segments.end(), {"--segment", "32"});
  CHECK(report_of(short_segments, "eval")["contexts"][0]["loss"].get<double>() ==
        doctest::Approx(learned).epsilon(1e-5));
  NanoRun::must_run({"eval", "--checkpoint", data / "run", "--data", data.tokens(), "--context", "240"});

  // Other vectors are other data.
  data.write_vectors("--scale 30");
  CHECK(report_of(evaluation, "eval")["contexts"][0]["loss"] != learned);
  const ProcessResult other = run_gca(resumed(data / "run", {"--steps", "8"}));
  CHECK(other.status == 2);
  NanoRun::must_run(data.training(data / "sharper", {"--steps", "6"}));
  CHECK(checkpoint_bytes(data / "sharper") != checkpoint_bytes(data / "run"));
}

TEST_CASE("frozen choice: ranks train what one process trains") {
  const FrozenData data;
  NanoRun::must_run(data.training(data / "alone", {"--steps", "4"}));
  NanoRun::must_run(launched(2, data.training(data / "two", {"--steps", "4"})));
  const nlohmann::json alone = trainer_state(data / "alone"), two = trainer_state(data / "two");
  REQUIRE(alone["recent_losses"].size() == 4);
  for (size_t i = 0; i < 4; ++i)
    CHECK(std::abs(alone["recent_losses"][i].get<double>() - two["recent_losses"][i].get<double>()) <= 1e-5);
  const std::vector<std::string> evaluation = {"eval",        "--checkpoint", data / "alone", "--data",
                                               data.tokens(), "--context",    "240",          "--json"};
  const ProcessResult one = run_gca(evaluation), shared = run_gca(launched(2, evaluation));
  CHECK(shared.status == 0);
  CHECK(without_times(one.out)["result"] == without_times(shared.out)["result"]);
}

TEST_CASE("frozen choice: whatever has no vectors is refused in one line") {
  const FrozenData data;
  NanoRun::must_run(data.training(data / "run", {"--steps", "2"}));
  const std::string reason = "chooses chunks by vectors of a data set (retriever frozen), and ";
  const auto with_checkpoint = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"--checkpoint", data / "run"});
    return words;
  };
  check_refused(with_checkpoint({"generate", "--prompt", "On day"}), reason + "a prompt has");
  check_refused(with_checkpoint({"inspect-retrieval", "--prompt-file", data.book()}),
                reason + "a prompt has");
  check_refused(with_checkpoint({"memory", "build", data.book(), "--output", data / "library"}), reason);
  check_refused(with_checkpoint({"eval", data.book(), "--context", "240"}), reason + "INPUT has");
  check_refused(with_checkpoint({"eval", "--data", data.tokens(), "--context", "240", "--task", "passkey"}),
                reason + "a text of task passkey has");
  check_refused(with_checkpoint({"eval", "--data", data.tokens(), "--context", "250"}),
                "--context 250: is no multiple of 15");
  check_refused(with_checkpoint({"eval", "--data", data.tokens(), "--context", "240", "--stride", "100"}),
                "--stride 100: is no multiple of 15");
  check_refused(with_checkpoint({"bench", "--mode", "prefill", "--context", "256", "--no-peak"}), reason);
  check_refused(tiny_run(data / "copies", {"--set", "retriever=frozen", "--steps", "2"}),
                reason + "a text of task self-copy has");
  check_refused(data.training(data / "more", {"--steps", "2", "--start-up", "train"}), reason + "a copy of");
  check_refused(launched(2, data.training(data / "more", {"--steps", "2", "--context-parallel", "2"})),
                reason + "a part of a text has");
  std::vector<std::string> other_context = data.training(data / "more", {"--steps", "2"});
  std::replace(other_context.begin(), other_context.end(), data.sequences(), data.tokens());
  std::replace(other_context.begin(), other_context.end(), std::string("context=240"),
               std::string("context=250"));
  check_refused(other_context, "its sequences of 250 tokens do not begin with chunks of 15");
  CHECK(!std::filesystem::exists(data / "more"));
}

TEST_CASE("frozen choice: a file of vectors that is missing or of other data is refused in one line") {
  const FrozenData data;
  const std::string vectors = data.vectors();
  const std::vector<std::string> train = data.training(data / "run", {"--steps", "2"});
  const std::string tokens = data.index()["seal"];
  const SafetensorsFile sound(vectors);
  const int64_t rows = sound.at("vectors").shape[0];
  std::filesystem::remove(vectors);
  check_refused(train, vectors + ": is not there");
  std::vector<float> numbers = testing::some_numbers(rows * 3);
  testing::vectors_file(numbers, 3, 64, tokens).write(vectors);
  check_refused(train, vectors + ": is of chunks of size 64, the model's chunk_size is 16");
  testing::vectors_file(numbers, 3, kChunkSize, "other").write(vectors);
  check_refused(train, vectors + ": was made of other tokens");
  testing::vectors_file({numbers.begin(), numbers.end() - 3}, 3, kChunkSize, tokens).write(vectors);
  check_refused(train, vectors + ": has " + std::to_string(rows - 1) + " rows");
  numbers[0] = std::nanf("");
  testing::vectors_file(numbers, 3, kChunkSize, tokens).write(vectors);
  check_refused(train, vectors + ": row 0 holds a number that is not finite");
  numbers[0] = 0;
  testing::vectors_file(numbers, 3, kChunkSize, tokens).write(vectors);
  NanoRun::must_run(train);
}
