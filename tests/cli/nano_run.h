#pragma once
// A nano model trained for two steps on a few pages, made by the binary itself: what tests of the later stages need.

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "tests/support/run_gca.h"

class NanoRun {
 public:
  /// `model_settings`: values of --set.
  explicit NanoRun(const std::vector<std::string>& model_settings = {}) {
    // Threads that wait spin by default: with several tests at once that makes steps of a nano model 40 times slower.
    setenv("OMP_WAIT_POLICY", "passive", 0);
    gca::write_file_atomically(folder_ / "book.txt", pages(0, 120));
    gca::write_file_atomically(folder_ / "other.txt", pages(500, 60));
    must_run({"tokenize", book(), folder_ / "other.txt", "--output", tokens(), "--train-vocab", "400"});
    must_run({"chunk", "--tokens", tokens(), "--output", sequences(), "--chunk-size", "16", "--context",
              "256", "--valid-fraction", "0.3"});
    std::vector<std::string> words = {"pretrain", "--data",        sequences(),  "--config", "nano",
                                      "--output", folder_ / "run", "--steps",    "2",        "--batch",
                                      "2",        "--set",         "context=256"};
    for (const std::string& setting : model_settings) {
      words.push_back("--set");
      words.push_back(setting);
    }
    must_run(words);
  }

  std::string book() const { return folder_ / "book.txt"; }
  std::string tokens() const { return folder_ / "tokens"; }
  std::string sequences() const { return folder_ / "sequences"; }
  std::string checkpoint() const { return folder_ / "run/checkpoint"; }
  std::string operator/(const std::string& name) const { return folder_ / name; }

  /// Some text in the manner of a book, `lines` lines; every one differs.
  static std::string pages(int first, int lines) {
    std::string text;
    for (int i = first; i < first + lines; ++i) {
      text += "On day " + std::to_string(i) + " the keeper of lamp " + std::to_string(i * 7919 % 1000) +
              " walked to the naïve harbour – and counted " + std::to_string(i * i) + " ships.\n";
    }
    return text;
  }

  static void must_run(const std::vector<std::string>& words) {
    const ProcessResult result = run_gca(words);
    INFO(result.err);
    REQUIRE(result.status == 0);
  }

 private:
  TemporaryFolder folder_;
};
