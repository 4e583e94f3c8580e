// gca report on runs whose numbers are known: the table, the CSV, and the page in a real browser.

#include <doctest/doctest.h>

#include <filesystem>
#include <sstream>

#include "tests/cli/in_browser.h"
#include "tests/cli/nano_run.h"
#include "tests/support/json_schema.h"

using nlohmann::json;

namespace {

/// A run of two validations and three steps with these losses, as gca pretrain leaves one behind.
void put_run(const std::string& folder, const std::string& long_range, int seed, double loss) {
  std::filesystem::create_directories(folder);
  const json first = {
      {"step", 0}, {"tokens", 0}, {"loss", 8.0}, {"perplexity", 2981.0}, {"bits_per_byte", nullptr}};
  const json last = {
      {"step", 3}, {"tokens", 300}, {"loss", loss}, {"perplexity", 1.0}, {"bits_per_byte", nullptr}};
  std::string metrics = json{{"step", 0}, {"valid", first}}.dump() + "\n";
  for (int step = 1; step <= 3; ++step)
    metrics += json{{"step", step}, {"tokens", 100 * step}, {"loss", 8.0 - step}}.dump() + "\n";
  metrics += json{{"step", 3}, {"valid", last}}.dump() + "\n{\"step\": 4, \"tok";  // and a torn line
  gca::write_file_atomically(folder + "/metrics.jsonl", metrics);
  const json report = {
      {"schema", "gca.pretrain/1"},
      {"seed", seed},
      {"config", {{"long_range", long_range}, {"hidden_size", 64}, {"output", folder}}},
      {"result", {{"parameters", 4711}, {"tokens_per_second", 99.5}, {"valid", {first, last}}}}};
  gca::write_file_atomically(folder + "/report.json", report.dump());
}

json eval_report(const std::string& checkpoint, const json& result) {
  return {{"schema", "gca.eval/1"},
          {"seed", 0},
          {"config", {{"checkpoint", checkpoint}, {"model", {{"long_range", "gca"}, {"hidden_size", 64}}}}},
          {"result", result}};
}

json perplexity_result(double perplexity) {
  json result = {{"task", "perplexity"}, {"contexts", json::array()}, {"positions", json::array()}};
  for (const int context : {512, 1024}) {
    result["contexts"].push_back({{"context", context},
                                  {"retriever", "learned"},
                                  {"loss", 1.5},
                                  {"perplexity", perplexity - context / 512.0},
                                  {"bits_per_byte", nullptr}});
    result["positions"].push_back({{"context", context},
                                   {"retriever", "learned"},
                                   {"from", 0},
                                   {"to", context},
                                   {"tokens", 9},
                                   {"loss", 1.5}});
  }
  return result;
}

json passkey_result(int correct) {
  json result = {{"task", "passkey"}, {"contexts", json::array()}, {"depths", json::array()}};
  for (const int context : {1024, 4096}) {
    result["contexts"].push_back({{"context", context},
                                  {"retriever", "learned"},
                                  {"trials", 20},
                                  {"correct", 2 * correct},
                                  {"accuracy", 2 * correct / 20.0},
                                  {"low", 0.1},
                                  {"high", 0.9}});
    for (const double depth : {0.0, 0.5})
      result["depths"].push_back({{"context", context},
                                  {"retriever", "learned"},
                                  {"depth", depth},
                                  {"trials", 10},
                                  {"correct", correct}});
  }
  return result;
}

/// Two seeds with retrieval, one without; an evaluation in the folder, one beside it.
struct Sweep {
  TemporaryFolder folder;
  std::vector<std::string> runs = {folder / "a", folder / "b", folder / "c"};

  Sweep() {
    put_run(runs[0], "gca", 1, 4.0);
    put_run(runs[1], "gca", 2, 5.0);
    put_run(runs[2], "none", 1, 6.0);
    gca::write_file_atomically(runs[0] + "/eval.json",
                               eval_report(runs[0] + "/checkpoint", perplexity_result(40)).dump());
    gca::write_file_atomically(runs[1] + "/passkey.json",
                               eval_report(runs[1] + "/checkpoint", passkey_result(3)).dump());
    gca::write_file_atomically(folder / "beside.json",
                               eval_report(runs[0] + "/checkpoint", passkey_result(8)).dump());
  }

  std::vector<std::string> words(std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"report", runs[0], runs[1], runs[2], folder / "beside.json"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, ',');) fields.push_back(field);
  return fields;
}

}  // namespace

TEST_CASE("report: seeds stand together, settings apart") {
  const Sweep sweep;
  const ProcessResult result = run_gca(sweep.words({"--json"}));
  REQUIRE_MESSAGE(result.status == 0, result.err);
  CHECK(problems_of("run-report", result.json()) == "");
  json broken = result.json();
  broken["result"]["groups"][1].erase("settings");
  CHECK(problems_of("run-report", broken).find("/result/groups/1") != std::string::npos);
  const json groups = result.json()["result"]["groups"];
  REQUIRE(groups.size() == 2);
  CHECK(groups[0]["settings"] == "long_range gca");
  CHECK(groups[0]["runs"].size() == 2);
  CHECK(groups[0]["valid_loss"] == json{{"mean", 4.5}, {"low", 4.0}, {"high", 5.0}});
  CHECK(groups[1]["settings"] == "long_range none");
  CHECK(groups[1]["runs"][0]["run"] == sweep.runs[2]);
  const ProcessResult table = run_gca(sweep.words());
  CHECK(table.out.find("4.0000 to 5.0000") != std::string::npos);
}

TEST_CASE("report: every number is in the CSV") {
  const Sweep sweep;
  REQUIRE(run_gca(sweep.words({"--csv", sweep.folder / "numbers.csv", "--quiet"})).status == 0);
  std::istringstream csv(gca::read_file(sweep.folder / "numbers.csv"));
  std::string line;
  std::getline(csv, line);
  const std::vector<std::string> names = fields_of(line);
  REQUIRE(names.size() == 14);
  int train_losses = 0, accuracies = 0;
  bool found_depth = false, found_perplexity = false;
  while (std::getline(csv, line)) {
    std::map<std::string, std::string> row;
    const std::vector<std::string> fields = fields_of(line);
    REQUIRE(fields.size() == names.size());
    for (size_t i = 0; i < names.size(); ++i) row[names[i]] = fields[i];
    train_losses += row["quantity"] == "train_loss" ? 1 : 0;
    accuracies += row["quantity"] == "accuracy" ? 1 : 0;
    // The evaluation beside the runs belongs to the first.
    found_depth |= row["run"] == sweep.runs[0] && row["quantity"] == "accuracy" && row["task"] == "passkey" &&
                   row["context"] == "4096" && row["depth"] == "0.5" && row["trials"] == "10" &&
                   row["value"] == "0.8";
    found_perplexity |= row["run"] == sweep.runs[0] && row["quantity"] == "perplexity" &&
                        row["context"] == "1024" && row["value"] == "38" && row["seed"] == "1";
  }
  CHECK(train_losses == 9);
  CHECK(accuracies == 12);
  CHECK(found_depth);
  CHECK(found_perplexity);
}

TEST_CASE("report: the page loads without errors and shows every chart, adding up seeds") {
  const Sweep sweep;
  const std::string path = sweep.folder / "page.html";
  REQUIRE(run_gca(sweep.words({"--html", path})).out.ends_with(path + "\n"));
  const std::string page = gca::read_file(path);
  CHECK(page.find("http") == std::string::npos);  // self-contained
  CHECK(page.find("@DATA@") == std::string::npos);
  const json result = in_browser(
      sweep.folder, page,
      "result.titles = [...document.querySelectorAll('svg .title')].map(t => t.textContent); "
      "result.cells = [...document.querySelectorAll('svg g')].map(g => "
      "[g.querySelector('title').textContent, "
      "g.querySelector('text').textContent, g.querySelector('rect').getBoundingClientRect().width > 5]); "
      "result.rows = [...document.querySelectorAll('tr')].map(r => r.textContent); "
      "result.lines = document.querySelectorAll('svg path[d]').length; "
      "result.broken = [...document.querySelectorAll('svg *')].filter(e => [...e.attributes].some(a => "
      "/nan|inf/i.test(a.value))).length;");
  CHECK(result["problems"] == json::array());
  CHECK(result["titles"] == json{"Training loss", "Validation loss", "Perplexity by context",
                                 "Loss by position, at a context of 1K", "passkey: found, by context",
                                 "passkey: % found; long_range gca"});
  REQUIRE(result["cells"].size() == 4);
  // 8 of 10 and 3 of 10.
  CHECK(result["cells"][0] == json{"context 1024, depth 0 %: 11 of 20", "55", true});
  CHECK(result["cells"][3] == json{"context 4096, depth 50 %: 11 of 20", "55", true});
  CHECK(result["rows"].size() == 3);
  CHECK(result["broken"] == 0);
  CHECK(result["lines"] > 8);
}

TEST_CASE("report: real runs are read, also those that have not ended") {
  const NanoRun run;
  REQUIRE(run_gca({"eval", "--checkpoint", run.checkpoint(), run.book(), "--context", "64,128",
                   "--max-tokens", "256", "--quiet", "--report", run / "run/eval.json"})
              .status == 0);
  std::filesystem::copy(run / "run", run / "unfinished", std::filesystem::copy_options::recursive);
  std::filesystem::remove(run / "unfinished/report.json");
  const ProcessResult result =
      run_gca({"report", run / "run", run / "unfinished", "--json", "--html", run / "page.html"});
  REQUIRE_MESSAGE(result.status == 0, result.err);
  CHECK(problems_of("run-report", result.json()) == "");
  const TemporaryFolder folder;
  const json shown =
      in_browser(folder, gca::read_file(run / "page.html"),
                 "result.titles = [...document.querySelectorAll('svg .title')].map(t => t.textContent); "
                 "result.names = [...document.querySelectorAll('dd')].map(d => d.textContent);");
  CHECK(shown["problems"] == json::array());
  CHECK(shown["titles"] == json{"Training loss", "Validation loss", "Perplexity by context",
                                "Loss by position, at a context of 128"});
  CHECK(shown["names"] == json{run / "run", run / "unfinished"});
}

TEST_CASE("report: what is not a run is refused by name") {
  const TemporaryFolder folder;
  const auto refused = [](const std::vector<std::string>& words, const std::string& name) {
    const ProcessResult result = run_gca(words);
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find(name) != std::string::npos);
    CHECK(result.err.find("internal") == std::string::npos);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  };
  refused({"report"}, "RUN");
  refused({"report", folder / "none"}, folder / "none");
  refused({"report", folder.path()}, "holds no run");
  const std::string file = folder / "report.json";
  for (const char* content :
       {"", "[]", "{", "{}", R"({"schema": 7})", R"({"schema": "gca.chunk/1"})",
        R"({"schema": "gca.pretrain/1"})",
        R"({"schema": "gca.pretrain/1", "seed": "a", "config": {}, "result": {}})",
        R"({"schema": "gca.eval/1", "seed": 0, "config": {"model": {}}, "result": {"contexts": 5}})"}) {
    CAPTURE(content);
    gca::write_file_atomically(file, content);
    refused({"report", file}, file);
  }
}
