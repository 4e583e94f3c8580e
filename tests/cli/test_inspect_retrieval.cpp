// gca inspect-retrieval, through the binary.

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/cli/nano_run.h"
#include "tests/support/json_schema.h"

TEST_CASE("inspect-retrieval: the report has every chunk with what it read") {
  const NanoRun run({"num_upper_layers=2", "retrieval_groups=2"});
  const std::string prompt = NanoRun::pages(3, 9) + "\x01\ttail";
  const std::vector<std::string> words = {"inspect-retrieval", "--checkpoint", run.checkpoint(),
                                          "--prompt",          prompt,         "--json"};
  const ProcessResult result = run_gca(words);
  INFO(result.err);
  REQUIRE(result.status == 0);
  const auto report = result.json();
  CHECK(problems_of("inspect-retrieval", report) == "");
  const auto& chunks = report["result"]["chunks"];
  REQUIRE(chunks.size() >= 4);
  int64_t tokens = 0;
  for (size_t t = 0; t < chunks.size(); ++t) {
    CAPTURE(t);
    CHECK(chunks[t]["chunk"] == t);
    CHECK(chunks[t]["first_token"] == tokens);
    tokens += chunks[t]["tokens"].get<int64_t>();
    REQUIRE(chunks[t]["groups"].size() == 2);
    for (const auto& group : chunks[t]["groups"]) {
      CHECK(group["retrieved"].size() ==
            std::min<size_t>(2, t < 1 ? 0 : t - 1));  // K = 2, earlier than t - 1
      double weight = 0;
      for (const auto& retrieved : group["retrieved"]) {
        const auto chunk = retrieved["chunk"].get<size_t>();
        CHECK(chunk + 1 < t);
        CHECK(retrieved["text"] == chunks[chunk]["text"]);
        weight += retrieved["weight"].get<double>();
      }
      if (t >= 2) CHECK(weight == doctest::Approx(1.0));
    }
  }
  CHECK(tokens == report["result"]["prompt_tokens"]);

  std::vector<std::string> one = words;
  one.insert(one.end(), {"--chunk", "3"});
  const auto single = run_gca(one).json()["result"]["chunks"];
  REQUIRE(single.size() == 1);
  CHECK(single[0] == chunks[3]);
}

TEST_CASE("inspect-retrieval: the table shows control characters as text and uses no colour in a file") {
  const NanoRun run;
  const ProcessResult table = run_gca({"inspect-retrieval", "--checkpoint", run.checkpoint(), "--prompt",
                                       "\x1b[31mred\n" + NanoRun::pages(3, 4)});
  REQUIRE(table.status == 0);
  CHECK(table.err == "");
  CHECK(table.out.find("\\x1b[31mred\\n") != std::string::npos);
  CHECK(table.out.find('\033') == std::string::npos);
  CHECK(table.out.find("chunk 2") != std::string::npos);
}

TEST_CASE("inspect-retrieval: wrong usage is told in one line") {
  const NanoRun run;
  const ProcessResult chunk = run_gca(
      {"inspect-retrieval", "--checkpoint", run.checkpoint(), "--prompt", "On day 1", "--chunk", "99"});
  CHECK(chunk.status == 2);
  CHECK(chunk.err.find("--chunk 99") != std::string::npos);
  const NanoRun window({"long_range=none"});
  const ProcessResult none =
      run_gca({"inspect-retrieval", "--checkpoint", window.checkpoint(), "--prompt", "On day 1"});
  CHECK(none.status == 2);
  CHECK(none.err.find("does not choose what it reads") != std::string::npos);
}
