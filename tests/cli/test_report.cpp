// gca report on runs whose numbers are known: the table, the CSV, and the page in a real browser.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
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
  json last = {{"step", 3}, {"tokens", 300}, {"loss", loss}, {"perplexity", 1.0}, {"bits_per_byte", nullptr}};
  if (long_range == "gca")
    last["reading"] = {
        {"learned", loss}, {"random", loss + 0.25}, {"none", loss + 1}, {"spread", 0.5}, {"sequences", 4}};
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

TEST_CASE("report: seeds stand together, settings apart, called by their folders") {
  const Sweep sweep;
  const ProcessResult result = run_gca(sweep.words({"--json"}));
  REQUIRE_MESSAGE(result.status == 0, result.err);
  CHECK(problems_of("run-report", result.json()) == "");
  json broken = result.json();
  broken["result"]["groups"][1].erase("settings");
  CHECK(problems_of("run-report", broken).find("/result/groups/1") != std::string::npos);
  const json groups = result.json()["result"]["groups"];
  REQUIRE(groups.size() == 2);
  CHECK(groups[0]["name"] == "a +1");
  CHECK(groups[0]["settings"] == "long_range gca");
  CHECK(groups[0]["differences"] == json{{"long_range", "gca"}});
  CHECK(groups[0]["runs"].size() == 2);
  CHECK(groups[0]["valid_loss"] == json{{"mean", 4.5}, {"low", 4.0}, {"high", 5.0}});
  CHECK(groups[0]["reading_gain"] == json{{"mean", 1.0}, {"low", 1.0}, {"high", 1.0}});
  CHECK(groups[0]["choice_gain"]["mean"] == 0.25);
  CHECK(groups[1]["settings"] == "long_range none");
  CHECK(groups[1]["reading_gain"]["mean"] == nullptr);
  CHECK(groups[1]["runs"][0]["run"] == "c");
  CHECK(groups[1]["runs"][0]["path"] == sweep.runs[2]);
  const ProcessResult table = run_gca(sweep.words());
  CHECK(table.out.find("4.5000") != std::string::npos);
  CHECK(table.out.find("hidden_size") == std::string::npos);  // the same in all runs
}

TEST_CASE("report: labels name runs, in their order or one by one") {
  const Sweep sweep;
  const auto names = [&](const std::vector<std::string>& labels) {
    std::vector<std::string> words = sweep.words({"--json"});
    for (const std::string& label : labels) {
      words.emplace_back("--label");
      words.push_back(label);
    }
    json found = json::array();
    const json report = run_gca(words).json();
    for (const json& group : report["result"]["groups"])
      for (const json& run : group["runs"]) found.push_back(run["run"]);
    return found;
  };
  CHECK(names({"gca 1", "gca 2", "window"}) == json{"gca 1", "gca 2", "window"});
  CHECK(names({"c=window"}) == json{"a", "b", "window"});
  CHECK(names({sweep.runs[1] + "=second"}) == json{"a", "second", "c"});
  const ProcessResult refused = run_gca(sweep.words({"--label", "one"}));
  CHECK(refused.status == 2);
  CHECK(refused.err.find("--label") != std::string::npos);
  CHECK(std::count(refused.err.begin(), refused.err.end(), '\n') == 1);
}

TEST_CASE("report: every number is in the CSV") {
  const Sweep sweep;
  REQUIRE(run_gca(sweep.words({"--csv", sweep.folder / "numbers.csv", "--quiet"})).status == 0);
  std::istringstream csv(gca::read_file(sweep.folder / "numbers.csv"));
  std::string line;
  std::getline(csv, line);
  const std::vector<std::string> names = fields_of(line);
  REQUIRE(names.size() == 17);
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
    found_depth |= row["run"] == "a" && row["path"] == sweep.runs[0] && row["quantity"] == "accuracy" &&
                   row["task"] == "passkey" && row["context"] == "4096" && row["depth"] == "0.5" &&
                   row["trials"] == "10" && row["value"] == "0.8";
    found_perplexity |= row["run"] == "a" && row["quantity"] == "perplexity" && row["context"] == "1024" &&
                        row["value"] == "38" && row["seed"] == "1";
  }
  CHECK(train_losses == 9);
  CHECK(accuracies == 12);
  CHECK(found_depth);
  CHECK(found_perplexity);
}

namespace {

/// What a reader of the page sees, and what of it cannot be drawn.
const std::string kLook =
    "const texts = (selector, within = document) => [...within.querySelectorAll(selector)].map(n => "
    "n.textContent); "
    "const figure = title => [...document.querySelectorAll('figure')].find(f => "
    "f.querySelector('b').textContent === "
    "title); "
    "result.titles = texts('figure b'); result.sections = texts('h2'); "
    "result.runs = [...document.querySelectorAll('#runs tr')].map(r => texts('th, td', r)); "
    "result.results = [...document.querySelectorAll('#results tr')].map(r => texts('th, td', r)); "
    "result.broken = [...document.querySelectorAll('svg *')].filter(e => [...e.attributes].some(a => "
    "/nan|inf|undefined/i.test(a.value))).length; "
    "result.wide = document.documentElement.scrollWidth - innerWidth; ";

}  // namespace

TEST_CASE("report: the page loads without errors and shows every chart, adding up seeds") {
  const Sweep sweep;
  const std::string path = sweep.folder / "page.html";
  REQUIRE(run_gca(sweep.words({"--html", path})).out.ends_with(path + "\n"));
  const std::string page = gca::read_file(path);
  CHECK(page.find("http") == std::string::npos);  // self-contained
  for (const char* mark : {"@DATA@", "@STYLE@", "@SCRIPTS@"}) CHECK(page.find(mark) == std::string::npos);
  const json result =
      in_browser(sweep.folder, page,
                 kLook +
                     "result.cells = [...document.querySelectorAll('svg g.cell')].map(g => "
                     "[g.querySelector('title').textContent, g.querySelector('text').textContent, "
                     "g.querySelector('rect').getBoundingClientRect().width > 5]); "
                     "result.lines = figure('Training loss').querySelectorAll('path.line').length; "
                     "result.thin = figure('Training loss').querySelectorAll('path.thin').length; ");
  CHECK(result["problems"] == json::array());
  CHECK(result["sections"] == json{"Loss", "Retrieval", "By context", "By position", "Tasks"});
  CHECK(result["titles"] ==
        json{"Validation loss", "Training loss", "What reading gains", "What choosing gains",
             "Loss with three choices", "Spread of the scores, validation", "Perplexity by context",
             "Loss by position, at a context of 1K", "passkey: found, by context", "passkey: % found"});
  CHECK(result["lines"] == 4);  // three runs, and the mean of two
  CHECK(result["thin"] == 2);
  CHECK(result["runs"] == json::array({json::array({"run", "long_range"}), json::array({"a +1", "gca"}),
                                       json::array({"c", "none"})}));
  REQUIRE(result["cells"].size() == 4);
  // 8 of 10 and 3 of 10.
  CHECK(result["cells"][0] == json{"context 1024, depth 0 %: 11 of 20", "55", true});
  CHECK(result["cells"][3] == json{"context 4096, depth 50 %: 11 of 20", "55", true});
  CHECK(result["broken"] == 0);
}

TEST_CASE("report: the reader of the page hides runs and lines, smooths, and chooses axes") {
  const Sweep sweep;
  REQUIRE(run_gca(sweep.words({"--html", sweep.folder / "made.html"})).status == 0);
  const json result = in_browser(
      sweep.folder, gca::read_file(sweep.folder / "made.html"),
      kLook +
          "const lines = title => figure(title).querySelectorAll('path.line').length; "
          "const path = title => figure(title).querySelector('path.line').getAttribute('d'); "
          "const labels = title => texts('svg > text', figure(title)); "
          "const set = (id, key, value) => { element(id)[key] = value; element(id).dispatchEvent(new "
          "Event('input')); }; "
          "result.whole = [lines('Validation loss'), lines('Loss with three choices')]; "
          "document.querySelector('[data-line=random]').click(); "
          "result.without_random = lines('Loss with three choices'); "
          "document.querySelector('[data-line=random]').click(); "
          "document.querySelector('#runs tr[data-group]').click(); "
          "result.without_first = [lines('Validation loss'), figure('What reading gains').textContent]; "
          "element('show-all').click(); result.all_again = lines('Validation loss'); "
          "const rough = path('Training loss'), valid = path('Validation loss'); set('smoothing', 'value', "
          "0.9); "
          "result.smoothed = [path('Training loss') !== rough, path('Validation loss') === valid]; "
          "set('smoothing', 'value', 0); result.rough_again = path('Training loss') === rough; "
          "result.robust = labels('Validation loss'); set('whole-range', 'checked', true); "
          "result.range = labels('Validation loss'); "
          "set('log-scale', 'checked', true); result.log = path('Validation loss') !== valid; "
          "set('x-axis', 'value', 'minutes'); result.minutes = figure('Training loss').textContent; "
          "const svg = figure('Perplexity by context').querySelector('svg'), box = "
          "svg.getBoundingClientRect(); "
          "svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 5, clientY: box.top + "
          "100})); "
          "result.hint = element('hint').textContent; ");
  CHECK(result["problems"] == json::array());
  CHECK(result["whole"] == json{4, 9});  // two runs and their mean, of three choices
  CHECK(result["without_random"] == 6);
  CHECK(result["without_first"][0] == 1);
  CHECK(result["without_first"][1].get<std::string>().find("no run is shown") != std::string::npos);
  CHECK(result["all_again"] == 4);
  CHECK(result["smoothed"] == json{true, true});
  CHECK(result["rough_again"] == true);
  CHECK(result["robust"] != result["range"]);
  CHECK(result["log"] == true);
  CHECK(result["minutes"].get<std::string>().find("nothing is known over minutes") != std::string::npos);
  CHECK(result["hint"] == "1Ka +1, learned choice38.00");
}

TEST_CASE("report: names and settings are text on the page, whatever they hold") {
  const TemporaryFolder folder;
  const std::string bad = "<img src=x onerror=problems.push(1)>&amp;\"'";
  put_run(folder / bad, "gca", 1, 4.0);
  put_run(folder / "plain", "</script><b>", 1, 5.0);
  REQUIRE(
      run_gca({"report", folder / bad, folder / "plain", "--html", folder / "made.html", "--quiet"}).status ==
      0);
  const json result = in_browser(folder, gca::read_file(folder / "made.html"),
                                 kLook + "result.images = document.querySelectorAll('img, td b').length; ");
  CHECK(result["problems"] == json::array());
  CHECK(result["images"] == 0);
  CHECK(result["runs"] == json::array({json::array({"run", "long_range"}), json::array({bad, "gca"}),
                                       json::array({"plain", "</script><b>"})}));
}

TEST_CASE("report: forty runs fit a page and a terminal") {
  const TemporaryFolder folder;
  std::vector<std::string> words = {"report"};
  for (int i = 0; i < 40; ++i) {
    const std::string run = folder / ("sweep-of-many-things-with-a-long-name-" + std::to_string(i));
    put_run(run, "gca", i, 4.0 + 0.01 * i);
    json report = json::parse(gca::read_file(run + "/report.json"));
    report["config"]["chunk_top_k"] = i + 1;
    report["config"]["phases"] = {{"phases", json::array({{{"name", "text"}, {"steps", i}}})}};
    gca::write_file_atomically(run + "/report.json", report.dump());
    words.push_back(run);
  }
  words.insert(words.end(), {"--html", folder / "made.html"});
  const ProcessResult table = run_gca(words);
  REQUIRE(table.status == 0);
  std::istringstream lines(table.out);
  for (std::string line; std::getline(lines, line);)
    if (line.find("/made.html") == std::string::npos) CHECK(line.size() <= 80);
  CHECK(table.out.find('{') == std::string::npos);
  const json result = in_browser(
      folder, gca::read_file(folder / "made.html"),
      kLook +
          "result.lines = figure('Validation loss').querySelectorAll('path.line').length; "
          "result.colours = new Set([...figure('Validation loss').querySelectorAll('path.line')].map(p => "
          "getComputedStyle(p).stroke)).size; ");
  CHECK(result["problems"] == json::array());
  CHECK(result["runs"].size() == 41);
  CHECK(result["runs"][0] == json{"run", "chunk_top_k", "phases"});
  for (size_t i = 1; i <= 40; ++i) {
    CHECK(result["runs"][i][1] == std::to_string(i));
    CHECK(result["runs"][i][2].get<std::string>().size() == std::string("plan 0123456").size());
  }
  CHECK(result["lines"] == 40);
  CHECK(result["colours"] == 40);
  CHECK(result["wide"] <= 0);
  CHECK(result["broken"] == 0);
}

TEST_CASE("report: real runs are read, also those that have not ended, evaluations and benchmarks") {
  const NanoRun run;
  REQUIRE(
      run_gca({"eval", "--checkpoint", run.checkpoint(), run.book(), "--context", "64,128", "--retriever",
               "learned,random,none", "--max-tokens", "256", "--quiet", "--report", run / "run/eval.json"})
          .status == 0);
  REQUIRE(run_gca({"bench", "--config", "nano", "--context", "64", "--mode", "decoding", "--repeats", "1",
                   "--no-peak", "--quiet", "--report", run / "bench.json"})
              .status == 0);
  std::filesystem::copy(run / "run", run / "unfinished", std::filesystem::copy_options::recursive);
  std::filesystem::remove(run / "unfinished/report.json");
  const ProcessResult result = run_gca(
      {"report", run / "run", run / "unfinished", run / "bench.json", "--json", "--html", run / "page.html"});
  REQUIRE_MESSAGE(result.status == 0, result.err);
  CHECK(problems_of("run-report", result.json()) == "");
  // The one that has not ended is of the same settings, by its checkpoint.
  const json groups = result.json()["result"]["groups"];
  REQUIRE(groups.size() == 2);
  REQUIRE(groups[0]["runs"].size() == 2);
  CHECK(groups[0]["runs"][0]["has_ended"] == true);
  CHECK(groups[0]["runs"][1]["has_ended"] == false);
  const json report = json::parse(gca::read_file(run / "run/report.json"));
  const json last = report["result"]["valid"].back();
  const double train_seconds = groups[0]["runs"][0]["train_seconds"];
  CHECK(groups[0]["runs"][0]["valid_loss"] == last["loss"]);
  CHECK(groups[0]["runs"][1]["valid_loss"] == last["loss"]);
  CHECK(groups[0]["runs"][1]["train_seconds"].get<double>() == doctest::Approx(train_seconds).epsilon(0.01));
  CHECK(groups[0]["choice_gain"]["mean"].get<double>() ==
        doctest::Approx(last["reading"]["random"].get<double>() - last["reading"]["learned"].get<double>()));
  CHECK(groups[1]["name"] == "bench");
  const TemporaryFolder folder;
  const json shown = in_browser(folder, gca::read_file(run / "page.html"), kLook);
  CHECK(shown["problems"] == json::array());
  CHECK(shown["broken"] == 0);
  for (const char* title :
       {"Validation loss", "Training loss", "What reading gains", "Spread of the scores, validation",
        "Spread of the scores, training", "Bits per byte by context", "Loss by position, at a context of 128",
        "Tokens per second, training", "Benchmark: decoding"}) {
    CAPTURE(title);
    CHECK(std::count(shown["titles"].begin(), shown["titles"].end(), title) == 1);
  }
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
