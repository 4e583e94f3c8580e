// The checkpoints that the examples keep, trained at no more than 4K tokens: they load, and find what they
// were trained to find in texts four times as long, by retrieval alone.

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"
#include "tests/support/write_file.h"

namespace {

const std::string kExamples = std::string(GCA_SOURCE_DIR) + "/examples";

/// Asks the checkpoint of this example its own task, which has the same name, in 20 texts of 16K tokens: a
/// row for each of `retrievers`.
nlohmann::json ask_checkpoint(const std::string& name, const std::string& retrievers) {
  setenv("OMP_WAIT_POLICY", "passive", 0);
  const ProcessResult eval =
      run_gca({"eval", "--checkpoint", kExamples + "/" + name, kExamples + "/books/valid", "--task", name,
               "--context", "16K", "--trials", "20", "--haystacks", "1", "--retriever", retrievers, "--seed",
               "1", "--json"});
  INFO(eval.err);
  REQUIRE(eval.status == 0);
  const nlohmann::json report = eval.json();
  CHECK(problems_of("eval", report) == "");
  return report["result"]["contexts"];
}

}  // namespace

TEST_CASE("passkey checkpoint: finds passkeys in a book, at four times the length of its training") {
  const nlohmann::json rows = ask_checkpoint("passkey", "learned,none");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["exact"]["correct"] >= 15);
  CHECK(rows[0]["retrieval"][0]["correct"] >= 15);
  // What the windows reach holds no needle.
  CHECK(rows[1]["exact"]["correct"] <= 2);
}

TEST_CASE("multihop checkpoint: the first group retrieves the first needle, the second group the second") {
  const nlohmann::json rows = ask_checkpoint("multihop", "learned,none");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["exact"]["correct"] >= 10);
  for (const nlohmann::json& rate : rows[0]["retrieval"])
    if (rate["group"] == rate["needle"]) CHECK(rate["correct"] >= 14);
  CHECK(rows[1]["exact"]["correct"] <= 2);
}

TEST_CASE("recall checkpoint: retrieves a paragraph that comes again far more often than chance does") {
  const nlohmann::json rows = ask_checkpoint("recall", "learned");
  REQUIRE(rows.size() == 1);
  CHECK(rows[0]["random"]["accuracy"] < 0.05);
  CHECK(rows[0]["correct"] >= 8);
}

TEST_CASE("text checkpoint: trained on Python, chooses better than at random in C++ that it has not seen") {
  const TemporaryFolder folder;
  std::string code;
  for (const auto& file :
       std::filesystem::directory_iterator(std::string(GCA_SOURCE_DIR) + "/lib/model/memory"))
    code += gca::read_file(file.path().string());
  gca::testing::write_file(folder / "code.txt", code);
  const ProcessResult eval =
      run_gca({"eval", "--checkpoint", kExamples + "/text", folder / "code.txt", "--context", "8K",
               "--retriever", "learned,random,none", "--max-tokens", "16K", "--json"});
  INFO(eval.err);
  REQUIRE(eval.status == 0);
  const nlohmann::json rows = eval.json()["result"]["contexts"];
  const auto loss = [&](size_t row) { return rows[row]["loss"].get<double>(); };
  REQUIRE(rows.size() == 3);
  CHECK(loss(0) < loss(1) - 0.07);
  CHECK(loss(1) < loss(2) - 0.05);
}

TEST_CASE("example checkpoints: are small enough to keep") {
  for (const char* example : {"/passkey", "/multihop", "/recall", "/text"}) {
    CAPTURE(example);
    uintmax_t size_bytes = 0;
    for (const auto& file : std::filesystem::directory_iterator(kExamples + example))
      size_bytes += file.file_size();
    CHECK(size_bytes < 20'000'000);
  }
}
