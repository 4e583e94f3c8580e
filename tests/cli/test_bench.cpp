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
