// gca bench, through the binary.

#include <doctest/doctest.h>

#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"
#include "tests/support/temporary_folder.h"

TEST_CASE("bench: one row per mode and context, rates that follow from what was counted" *
          doctest::test_suite("slow")) {
  const ProcessResult result =
      run_gca({"bench", "--config", "nano", "--set", "vocab_size=300", "--context", "128,256", "--repeats",
               "2", "--decode-tokens", "30", "--profile", "--json"});
  REQUIRE(result.status == 0);
  const auto report = result.json();
  CHECK(problems_of("bench", report) == "");
  const auto& rows = report["result"]["rows"];
  REQUIRE(rows.size() == 8);
  for (const auto& row : rows) {
    const double seconds = row["median_seconds"];
    CHECK(row["tokens_per_second"].get<double>() == doctest::Approx(row["tokens"].get<double>() / seconds));
    const bool decodes = row["mode"] == "decoding";
    CHECK(row.contains("bytes_per_token") == decodes);
    CHECK(row.contains("state_bytes") == decodes);
    const double work = decodes ? row["bytes_per_token"] : row["flops_per_token"];
    const double limit =
        1e9 * (decodes ? report["result"]["memory_gigabytes_per_second"] : report["result"]["peak_gflops"])
                  .get<double>();
    CHECK(row["utilization"].get<double>() ==
          doctest::Approx(work * row["tokens_per_second"].get<double>() / limit));
    double shares = 0;
    for (const auto& time : row["profile"]["operators"]) shares += time["share"].get<double>();
    CHECK(shares == doctest::Approx(row["profile"]["explained"].get<double>()));
    CHECK(shares <= 1.0);
  }
  CHECK(rows[0]["mode"] == "training");
  CHECK(rows[3]["mode"] == "decoding");
  CHECK(rows[4]["context"] == 256);
}

TEST_CASE("bench: cache policies side by side, of random weights and of a checkpoint" *
          doctest::test_suite("slow")) {
  const std::vector<std::string> full = {
      "bench", "--config",       "nano", "--set", "vocab_size=300", "--set", "self_attention=full",
      "--set", "long_range=none"};
  const std::vector<std::string> short_runs = {"--context", "256",  "--repeats", "1", "--decode-tokens", "20",
                                               "--dtype",   "fp32", "--json"};
  const auto rows_of = [&](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), short_runs.begin(), short_runs.end());
    words.insert(words.end(), more.begin(), more.end());
    const ProcessResult result = run_gca(words);
    REQUIRE_MESSAGE(result.status == 0, result.err);
    CHECK(problems_of("bench", result.json()) == "");
    return result.json()["result"]["rows"];
  };
  const std::vector<std::string> policies = {
      "--question-tokens", "16", "--kv-policy",         "full,sink,squeezed,recycled,citrus",
      "--kv-window",       "30", "--kv-sinks",          "2",
      "--citrus-kept",     "40", "--squeezed-observed", "20"};
  const auto rows = rows_of(full, policies);
  REQUIRE(rows.size() == 5);
  const double weights =
      rows[0]["bytes_per_token"].get<double>() - rows[0]["kv_bytes_per_token"].get<double>();
  for (const auto& row : rows) {
    CAPTURE(row["kv_policy"]);
    CHECK(row["mode"] == "decoding");
    CHECK(row["ms_per_token"].get<double>() == doctest::Approx(1e3 / row["tokens_per_second"].get<double>()));
    CHECK(row["bytes_per_token"].get<double>() ==
          doctest::Approx(weights + row["kv_bytes_per_token"].get<double>()));
    CHECK((row["kv_policy"] == "full") == (row["share_read"] == 1.0));
    CHECK(row["utilization"].get<double>() > 0);
  }
  // 256 tokens, those of the run that was not measured, and half of the 20 that were: a key and a value of each.
  const auto config = run_gca({"bench", "--config", "nano", "--set", "vocab_size=300", "--set",
                               "self_attention=full", "--set", "long_range=none", "--context", "64", "--mode",
                               "prefill", "--repeats", "1", "--no-peak", "--json"})
                          .json()["config"];
  const double elements =
      2.0 * (config["num_lower_layers"].get<double>() + config["num_upper_layers"].get<double>()) *
      config["num_key_value_heads"].get<double>();
  const double dh = config["hidden_size"].get<double>() / config["num_attention_heads"].get<double>();
  const double mean_rows = 256 + 20 + (1 + 20) / 2.0;
  CHECK(rows[0]["kv_bytes_per_token"].get<double>() == doctest::Approx(elements * mean_rows * dh * 4));
  const double kept = elements * 256 * dh * 4;  // what is allocated has room for more
  CHECK(rows[0]["state_bytes"].get<double>() >= kept);
  CHECK(rows[0]["state_bytes"].get<double>() < 1.5 * kept);
  const auto int8 = rows_of(full, {"--kv-policy", "full", "--kv-dtype", "int8", "--question-tokens", "16"});
  CHECK(int8[0]["kv_bytes_per_token"].get<double>() == doctest::Approx(elements * mean_rows * (dh + 4)));

  const std::vector<std::string> llama = {"bench", "--checkpoint",
                                          std::string(GCA_GOLDEN_DIR) + "/llama/gqa"};
  CHECK(rows_of(llama, {"--kv-policy", "full,recycled"}).size() == 2);
  CHECK(rows_of(llama, {}).size() == 3);  // no training
  const auto refused = [](std::vector<std::string> words, const std::vector<std::string>& more,
                          const std::string& says) {
    words.insert(words.end(), more.begin(), more.end());
    const ProcessResult result = run_gca(words);
    CHECK(result.status == 2);
    CHECK(result.err.find(says) != std::string::npos);
  };
  refused(full, {"--kv-policy", "sink", "--mode", "prefill"}, "--mode: is decoding alone");
  refused(full, {"--kv-policy", "sink", "--context", "64"}, "leaves nothing before --question-tokens 64");
  refused(full, {"--kv-window", "8"}, "--kv-window: has no meaning without --kv-policy");
  refused(full, {"--kv-dtype", "int8"}, "--kv-dtype: has no meaning without --kv-policy");
  refused(full, {"--kv-policy", "full", "--kv-dtype", "bf16", "--dtype", "fp32"},
          "is not possible with --dtype fp32");
  refused({"bench", "--config", "nano"}, {"--kv-policy", "full"}, "has no cache of the whole text");
  refused(llama, {"--config", "nano"}, "--config");
  refused(llama, {"--mode", "training"}, "--mode training: is not possible with --checkpoint");
}

TEST_CASE("bench: --mode chooses, --no-peak leaves the machine alone, wrong values say what is right") {
  const ProcessResult result = run_gca({"bench", "--config", "nano", "--set", "vocab_size=300", "--context",
                                        "64", "--mode", "prefill", "--repeats", "1", "--no-peak", "--json"});
  REQUIRE(result.status == 0);
  const auto report = result.json();
  CHECK(problems_of("bench", report) == "");
  REQUIRE(report["result"]["rows"].size() == 1);
  CHECK(report["result"]["rows"][0]["mode"] == "prefill");
  CHECK(report["result"]["rows"][0]["utilization"].is_null());
  CHECK(report["result"]["peak_gflops"].is_null());

  const TemporaryFolder folder;
  const ProcessResult stored =
      run_gca({"bench", "--config", "nano", "--set", "vocab_size=300", "--context", "300", "--mode",
               "prefill,decoding", "--repeats", "1", "--decode-tokens", "30", "--no-peak", "--memory",
               "file:" + (folder / "memory"), "--memory-dtype", "int8", "--json"});
  REQUIRE(stored.status == 0);
  CHECK(problems_of("bench", stored.json()) == "");
  CHECK(stored.json()["config"]["memory_dtype"] == "int8");
  CHECK(run_gca({"bench", "--config", "nano", "--memory", "disk"}).status == 2);

  const ProcessResult int8 =
      run_gca({"bench", "--config", "nano", "--set", "vocab_size=300", "--context", "64", "--repeats", "1",
               "--decode-tokens", "30", "--no-peak", "--weight-dtype", "int8", "--json"});
  REQUIRE(int8.status == 0);
  CHECK(problems_of("bench", int8.json()) == "");
  CHECK(int8.json()["config"]["weight_dtype"] == "int8");
  REQUIRE(int8.json()["result"]["rows"].size() == 3);  // no training
  CHECK(int8.json()["result"]["rows"][0]["mode"] == "prefill");
  const ProcessResult trains = run_gca({"bench", "--config", "nano", "--set", "vocab_size=300", "--mode",
                                        "decoding,training", "--weight-dtype", "int8"});
  CHECK(trains.status == 2);
  CHECK(trains.err.find("--mode training") != std::string::npos);

  CHECK(run_gca({"bench", "--mode", "sleeping"}).status == 2);
  const ProcessResult forced =
      run_gca({"bench", "--config", "nano", "--set", "vocab_size=300", "--context", "64", "--mode", "prefill",
               "--repeats", "1", "--no-peak", "--isa", "baseline", "--json"});
  REQUIRE(forced.status == 0);
  CHECK(forced.json()["machine"]["instruction_set"] == "baseline");
  const ProcessResult unknown = run_gca({"bench", "--config", "nano", "--isa", "mmx"});
  CHECK(unknown.status == 2);
  CHECK(unknown.err.find("--isa") != std::string::npos);
  CHECK(unknown.err.find("baseline") != std::string::npos);
  // What is not measured is not offered, and the refusal says what is.
  const ProcessResult cuda = run_gca({"bench", "--config", "nano", "--device", "cuda"});
  CHECK(cuda.status == 2);
  CHECK(cuda.err.find("--device") != std::string::npos);
  CHECK(cuda.err.find("{cpu}") != std::string::npos);
  CHECK(run_gca({"bench", "--config", "nano", "--repeats", "0"}).status == 2);
  CHECK(run_gca({"bench", "--config", "nano", "--context", "1"}).status == 2);
}
