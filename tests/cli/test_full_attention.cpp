// Full attention, its cache policies, and checkpoints of other programs, through the binary.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "lib/core/files/atomic_file.h"
#include "tests/cli/nano_run.h"
#include "tests/cli/report_of.h"

namespace {

const std::vector<std::string> kFull = {"self_attention=full", "long_range=none"};
const std::string kGolden = std::string(GCA_GOLDEN_DIR) + "/llama/";

std::vector<std::string> generate(const std::string& checkpoint, const std::string& prompt,
                                  const std::vector<std::string>& more) {
  std::vector<std::string> words = {"generate", "--checkpoint",     checkpoint, "--prompt",
                                    prompt,     "--max-new-tokens", "12"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

TEST_CASE("full attention: trained, continued under every policy, kept and gone on with" *
          doctest::test_suite("slow")) {
  const NanoRun run(kFull);
  const std::string checkpoint = run.checkpoint(), prompt = NanoRun::pages(3, 9);
  const auto full = report_of(generate(checkpoint, prompt, {}), "generate");
  CHECK(full["kv_cache"]["share_read"] == 1.0);
  const std::vector<std::vector<std::string>> policies = {
      {"--kv-policy", "window", "--kv-window", "40"},
      {"--kv-policy", "sink", "--kv-window", "40", "--kv-sinks", "2"},
      {"--kv-policy", "squeezed", "--prefix-tokens", "150", "--squeezed-observed", "20"},
      {"--kv-policy", "recycled", "--recycled-rows", "30"},
      {"--kv-policy", "citrus", "--citrus-chunk", "32", "--citrus-kept", "40", "--instruction-tokens", "20"},
      {"--kv-policy", "full", "--kv-dtype", "int8"}};
  for (const auto& policy : policies) {
    CAPTURE(policy[1]);
    const auto result = report_of(generate(checkpoint, prompt, policy), "generate");
    CHECK(result["new_tokens"] == 12);
    CHECK((result["kv_cache"]["share_read"] < 1.0) == (policy[1] != "full"));
    CHECK(result["kv_cache"]["bytes_per_token"] < full["kv_cache"]["bytes_per_token"]);

    // What was kept goes on as if it had not been put away.
    std::vector<std::string> first = policy;
    first.insert(first.end(), {"--save-memory", run / policy[1]});
    std::vector<std::string> go_on = {"generate",      "--checkpoint",     checkpoint, "--load-memory",
                                      run / policy[1], "--max-new-tokens", "8"};
    // The prefix and the instruction are in it.
    for (size_t i = 0; i < policy.size(); i += 2)
      if (policy[i] != "--prefix-tokens" && policy[i] != "--instruction-tokens")
        go_on.insert(go_on.end(), {policy[i], policy[i + 1]});
    std::vector<std::string> all = generate(checkpoint, prompt, policy);
    all[6] = "20";
    const auto at_once = report_of(all, "generate")["tokens"];
    auto parts = report_of(generate(checkpoint, prompt, first), "generate")["tokens"];
    const nlohmann::json rest = report_of(go_on, "generate");
    for (const auto& token : rest["tokens"]) parts.push_back(token);
    CHECK(parts == at_once);
    const std::vector<std::string> otherwise = {"generate", "--checkpoint", checkpoint, "--load-memory",
                                                run / policy[1]};
    check_refused(otherwise, policy[1] == "full" ? "--kv-dtype" : "--kv-policy");
  }
}

TEST_CASE("full attention: a prefix is read once, and serves prompts that begin with it" *
          doctest::test_suite("slow")) {
  const NanoRun run(kFull);
  const std::string checkpoint = run.checkpoint(), prefix = NanoRun::pages(3, 9);
  const std::vector<std::string> squeezed = {"--kv-policy", "squeezed",       "--squeezed-observed",
                                             "20",          "--prefix-cache", run / "prefix"};
  std::vector<std::string> writes = squeezed;
  writes.insert(writes.end(), {"--prefix-tokens", "150"});
  const std::string prompt = prefix + "And then the keeper of lamp 7";
  const auto first = report_of(generate(checkpoint, prompt, writes), "generate");
  REQUIRE(std::filesystem::exists(run / "prefix"));
  const auto second = report_of(generate(checkpoint, prompt, squeezed), "generate");
  CHECK(second["prefix_tokens"] == 150);
  CHECK(second["tokens"] == first["tokens"]);
  check_refused(generate(checkpoint, "Another text. " + prompt, squeezed),
                "does not begin with its 150 tokens");
  std::vector<std::string> int8 = squeezed;
  int8.insert(int8.end(), {"--kv-dtype", "int8"});
  check_refused(generate(checkpoint, prompt, int8), "was written with kv_policy");
  std::vector<std::string> other = squeezed;
  other.insert(other.end(), {"--squeezed-quantile", "0.5"});
  check_refused(generate(checkpoint, prompt, other), "was written with kv_policy");
  std::filesystem::resize_file(run / "prefix", std::filesystem::file_size(run / "prefix") / 2);
  check_refused(generate(checkpoint, prompt, squeezed), run / "prefix");
}

TEST_CASE("full attention: exported and imported it gives the same text" * doctest::test_suite("slow")) {
  const NanoRun run(kFull);
  const std::string prompt = NanoRun::pages(3, 4);
  const auto tokens = [&](const std::string& checkpoint) {
    return report_of(generate(checkpoint, prompt, {"--dtype", "fp32"}), "generate")["tokens"];
  };
  const auto written = report_of({"export", run.checkpoint(), "--output", run / "llama"}, "export");
  CHECK(written["copied"] == nlohmann::json{"tokenizer.model"});
  CHECK(nlohmann::json::parse(gca::read_file(run / "llama/config.json"))["model_type"] == "llama");
  CHECK(tokens(run / "llama") == tokens(run.checkpoint()));
  report_of({"import", run / "llama", "--output", run / "ours"}, "import");
  CHECK(tokens(run / "ours") == tokens(run.checkpoint()));
  check_refused({"import", run / "ours", "--output", run / "again"}, "is a checkpoint of gca already");
  check_refused({"export", run.checkpoint(), "--output", run / "llama"}, "is there already");
}

TEST_CASE("full attention: eval measures cache policies side by side" * doctest::test_suite("slow")) {
  const NanoRun run(kFull);
  const std::vector<std::string> policies = {"--kv-policy",         "full,sink,squeezed,recycled,citrus",
                                             "--kv-window",         "40",
                                             "--kv-sinks",          "2",
                                             "--citrus-kept",       "40",
                                             "--squeezed-observed", "20"};
  const auto eval = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"eval", "--checkpoint", run.checkpoint(), run.book()};
    more.insert(more.end(), policies.begin(), policies.end());
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::vector<std::string> answers = {"--context",         "256", "--answer-tokens", "32",
                                            "--question-tokens", "16",  "--max-tokens",    "1K"};
  const auto result = report_of(eval(answers), "eval");
  REQUIRE(result["answers"].size() == 5);
  const nlohmann::json& full = result["answers"][0];
  CHECK(full["share_read"] == 1.0);
  CHECK(full["answers"] == 4);
  CHECK(full["tokens"] == 4 * 32);
  CHECK(full["steps"] == 4 * 31);
  for (size_t i = 1; i < 5; ++i) {
    const nlohmann::json& row = result["answers"][i];
    CAPTURE(row["kv_policy"]);
    CHECK(row["share_read"] < 1.0);
    CHECK(row["bytes_per_token"] < full["bytes_per_token"]);
    CHECK(row.contains("full_steps") == (row["kv_policy"] == "recycled"));
  }
  std::vector<std::string> int8 = answers;
  int8.insert(int8.end(), {"--kv-dtype", "int8"});
  const auto rounded = report_of(eval(int8), "eval");
  for (size_t i = 0; i < 5; ++i) {
    const nlohmann::json &row = rounded["answers"][i], &exact = result["answers"][i];
    CAPTURE(row["kv_policy"]);
    CHECK(row["loss"].get<double>() == doctest::Approx(exact["loss"].get<double>()).epsilon(0.02));
    CHECK(row["bytes_per_token"].get<double>() < 0.75 * exact["bytes_per_token"].get<double>());
  }
  const ProcessResult table = run_gca(eval(answers));
  CHECK(table.status == 0);
  CHECK(table.out.find("MB/token") != std::string::npos);
  CHECK(table.out.find("citrus") != std::string::npos);

  const std::vector<std::string> needles = {"--task", "passkey", "--context", "512", "--trials", "4"};
  const auto planted = report_of(eval(needles), "eval");
  REQUIRE(planted["contexts"].size() == 5);
  CHECK(planted["contexts"][3]["kv_policy"] == "recycled");
  CHECK(planted["contexts"][3]["trials"] == 4);
  CHECK(planted["depths"].size() == 50);

  const std::string checkpoint = run.checkpoint();
  const auto refused = [&](std::vector<std::string> more, const std::string& says) {
    std::vector<std::string> words = {"eval", "--checkpoint", checkpoint, run.book()};
    words.insert(words.end(), more.begin(), more.end());
    check_refused(words, says);
  };
  refused({"--kv-policy", "full", "--stride", "8"}, "--stride: is not used with --kv-policy");
  refused({"--kv-window", "8"}, "--kv-window: has no meaning without --kv-policy");
  refused({"--kv-policy", "full,citrus", "--kv-window", "8"}, "has no meaning for --kv-policy full,citrus");
  refused({"--kv-dtype", "int8"}, "--kv-dtype: has no meaning without --kv-policy");
  refused({"--answer-tokens", "8"}, "--answer-tokens: has no meaning without --kv-policy");
  refused({"--kv-policy", "full", "--context", "64"}, "leaves nothing before a question");
  refused({"--kv-policy", "full", "--context", "512", "--max-tokens", "400"}, "holds no stretch of 512");
  const NanoRun window;
  check_refused(
      {"eval", "--checkpoint", window.checkpoint(), window.book(), "--context", "512", "--kv-policy", "sink"},
      "has no cache of the whole text");
}

TEST_CASE("full attention: what cannot be is told in one line") {
  check_refused({"generate", "--checkpoint", kGolden + "gqa", "--prompt", "x", "--kv-policy", "citrus"},
                "--instruction-tokens");
  check_refused({"generate", "--checkpoint", kGolden + "gqa", "--prompt", "x", "--kv-window", "7"},
                "--kv-window: has no meaning for --kv-policy full");
  const TemporaryFolder folder;
  std::filesystem::copy(kGolden + "gqa", folder / "gqa");
  nlohmann::json config = nlohmann::json::parse(gca::read_file(folder / "gqa/config.json"));
  config["model_type"] = "gemma";
  gca::write_file_atomically(folder / "gqa/config.json", config.dump());
  check_refused({"import", folder / "gqa", "--output", folder / "out"}, "model_type is \"gemma\"");
  CHECK_FALSE(std::filesystem::exists(folder / "out"));
  const auto imported = report_of({"import", kGolden + "bf16-shards", "--output", folder / "ours"}, "import");
  CHECK(imported["layers"] == 2);
  CHECK(imported["copied"].empty());
}
