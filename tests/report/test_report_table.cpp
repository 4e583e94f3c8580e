#include "lib/report/report_table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

using namespace gca;
using Words = std::vector<std::string>;

namespace {

std::vector<Words> rows_of(const std::string& table) {
  std::vector<Words> rows;
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    rows.emplace_back();
    for (std::string word; words >> word;) rows.back().push_back(word);
  }
  return rows;
}

/// Characters, of UTF-8.
size_t longest_line(const std::string& table) {
  size_t longest = 0;
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);)
    longest = std::max(longest, static_cast<size_t>(std::count_if(line.begin(), line.end(), [](char c) {
                         return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
                       })));
  return longest;
}

}  // namespace

TEST_CASE("A group has a line: means, and the range of its runs") {
  report::RunResults first, second, alone;
  first.tokens = 12'345'678;
  first.has_ended = second.has_ended = true;
  first.train_seconds = 60, second.train_seconds = 180;
  first.valid = {{.step = 1, .loss = 9.0}, {.step = 2, .loss = 2.0, .bits_per_byte = 1.5}};
  second.valid = {{.step = 2, .loss = 3.0, .reading = {1.0, 0.9999, 1.75, 0.5}}};
  alone.steps = 7, alone.tokens = 700;
  const std::vector<Words> rows =
      rows_of(report::report_table({{"batch"}, {{"a-*", {&first, &second}, {"1"}}, {"b", {&alone}, {"2"}}}}));
  CHECK(rows[0] == Words{"run", "runs", "tokens", "min", "loss", "range", "b/byte", "reading", "choice"});
  CHECK(rows[1] == Words{"a-*", "2", "12.3M", "2.0", "2.5000", "1.0000", "1.5000", "0.750", "0.000"});
  CHECK(rows[2] == Words{"b", "1", "700*", "-", "-", "-", "-", "-", "-"});
  CHECK(rows[3] == Words{"*", "has", "not", "ended"});
  CHECK(std::count(rows.begin(), rows.end(), Words{"run", "batch"}) == 1);
  CHECK(std::count(rows.begin(), rows.end(), Words{"a-*", "1"}) == 1);
  CHECK(std::count(rows.begin(), rows.end(), Words{"b", "2"}) == 1);
}

TEST_CASE("What no group has is no column, and what does not differ is not told") {
  report::RunResults run;
  run.has_ended = true;
  CHECK(report::report_table({{}, {{"a", {&run}, {}}}}) == "run\na\n");
}

TEST_CASE(
    "Forty runs with long names and many settings stay within 80 characters, each told from the others") {
  std::vector<report::RunResults> runs(40);
  report::Comparison comparison;
  for (int i = 0; i < 12; ++i) comparison.settings.push_back("a_rather_long_setting_" + std::to_string(i));
  for (size_t i = 0; i < runs.size(); ++i) {
    runs[i].tokens = 999'499'999'999;
    runs[i].train_seconds = 6e6;
    runs[i].valid = {{.loss = 10.5, .bits_per_byte = 10.5, .reading = {1.0, -10.5, -10.5, 1.0}}};
    comparison.groups.push_back(
        {"caf\xC3\xA9-with-a-name-that-is-longer-than-any-column-" + std::to_string(i),
         {&runs[i], &runs[i]},
         Words(12, i == 3 ? std::string(200, 'x') : "value")});
  }
  const std::string table = report::report_table(comparison);
  CHECK(longest_line(table) <= 80);
  std::vector<Words> rows = rows_of(table);
  for (size_t i = 0; i < runs.size(); ++i) {
    CAPTURE(i);
    CHECK(rows[1 + i][0].starts_with("caf\xC3\xA9"));
    CHECK(rows[1 + i][0].ends_with("-" + std::to_string(i)));
  }
}

TEST_CASE("Names of settings are broken in two lines where that makes room for a table") {
  report::RunResults run;
  run.has_ended = true;
  const report::Comparison comparison = {
      {"learning_rate_factor_embedding", "learning_rate_factor_encoder", "weight_rounding", "phases"},
      {{"a", {&run}, {"1.0", "2.0", "0.3", "short.json"}}, {"b", {&run}, {"2.0", "2.0", "0.0", ""}}}};
  const std::string table = report::report_table(comparison);
  CHECK(
      table.ends_with("What differs\n"
                      "      learning_rate_    learning_rate_  weight_\n"
                      "run   factor_embedding  factor_encoder  rounding  phases\n"
                      "a     1.0               2.0             0.3       short.json\n"
                      "b     2.0               2.0             0.0\n"));
}
