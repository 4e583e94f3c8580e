#include "lib/report/runs/setting_texts.h"

#include <doctest/doctest.h>

using namespace gca;
using nlohmann::json;
using Words = std::vector<std::string>;

namespace {

std::vector<report::RunResults> runs_with(const std::vector<json>& settings) {
  std::vector<report::RunResults> runs;
  for (const json& one : settings) {
    report::RunResults run;
    run.settings = one;
    runs.push_back(run);
  }
  return runs;
}

json plan(int steps) {
  return {{"phases", json::array({{{"name", "text"}, {"steps", steps}}})}};
}

}  // namespace

TEST_CASE("A setting differs where two runs say different things, not where one says nothing") {
  const auto runs = runs_with({{{"batch", 1}, {"context", 512}, {"schedule", "wsd"}},
                               {{"batch", 2}, {"context", 512}},
                               {{"batch", 1}}});
  CHECK(report::differing_settings(runs) == Words{"batch"});
  CHECK(report::differing_settings(std::span(runs).first(1)).empty());
  CHECK(report::differing_settings({}).empty());
}

TEST_CASE("Where a run was made and how often it was looked at is no setting") {
  CHECK(report::differing_settings(runs_with({{{"output", "a"}, {"eval_interval", 1}, {"keep_best", true}},
                                              {{"output", "b"}, {"eval_interval", 2}, {"keep_best", false}}}))
            .empty());
}

TEST_CASE("Values are told as people write them") {
  const auto texts = [](const std::vector<json>& values) {
    std::vector<json> settings;
    for (const json& value : values) settings.push_back({{"x", value}});
    return report::setting_texts(runs_with(settings), "x");
  };
  CHECK(texts({0.0002, 5e-05, 3, true}) == Words{"0.0002", "5e-05", "3", "true"});
  CHECK(texts({"wsd", "", nullptr}) == Words{"wsd", "none", "none"});
  CHECK(texts({{2.0, 0.5}, json::array(), {1}}) == Words{"2.0, 0.5", "none", "1"});
  CHECK(report::setting_texts(runs_with({{{"x", 1}}, {{"y", 1}}}), "x") == Words{"1", ""});
}

TEST_CASE("Folders are told by what tells them apart") {
  CHECK(report::setting_texts(runs_with({{{"data", "/long/way/code/train"}},
                                         {{"data", "/long/way/books/train"}},
                                         {{"data", {"/long/way/code/train:6", "maths:3"}}},
                                         {{"data", ""}}}),
                              "data") == Words{"code/train", "books/train", "train:6, maths:3", "none"});
  CHECK(report::setting_texts(
            runs_with({{{"init", "out/books/checkpoint"}}, {{"init", "out/code/checkpoint"}}}), "init") ==
        Words{"books", "code"});
}

TEST_CASE("A plan of phases is its file, with the start of its hash where one name stands for two plans") {
  std::vector<report::RunResults> runs =
      runs_with({{{"phases", plan(1)}}, {{"phases", plan(2)}}, {{"phases", plan(1)}}, {{"phases", nullptr}}});
  runs[0].plan_file = "short.json";
  Words texts = report::setting_texts(runs, "phases");
  CHECK(texts[0] == "short.json");
  CHECK(texts[2] == "short.json");  // the same plan, of a run that was resumed
  CHECK(texts[3] == "none");
  // printf '%s' '{"phases":[{"name":"text","steps":2}]}' | sha256sum
  CHECK(texts[1] == "plan bb6198c");
  runs[1].plan_file = "short.json";
  texts = report::setting_texts(runs, "phases");
  CHECK(texts[0].starts_with("short.json "));
  CHECK(texts[1] == "short.json bb6198c");
  CHECK(texts[0] != texts[1]);
  for (const std::string& text : texts) CHECK(text.find('{') == std::string::npos);
}
