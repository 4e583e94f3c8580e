#include "lib/report/report_page.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>

using namespace gca;
using nlohmann::json;

namespace {

/// What the page's script reads.
json data_of(const std::string& page) {
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const size_t begin = page.find(open) + open.size();
  return json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

}  // namespace

TEST_CASE("Names cannot end the script that holds them, and unknown numbers are null") {
  report::RunResults run;
  run.name = "</script><script>alert(1)</script><!-- \xff";
  run.valid = {{1, 10, 3.0}};
  const report::RunGroup group{"<b>&amp;</b>", {&run}};
  const json data = data_of(report::report_page({&group, 1}));
  REQUIRE(data["groups"].size() == 1);
  CHECK(data["groups"][0]["label"] == group.label);
  CHECK(data["groups"][0]["runs"][0] == "</script><script>alert(1)</script><!-- \xef\xbf\xbd");
  CHECK(data["groups"][0]["tokens_per_second"] == nullptr);
  CHECK(data["charts"].size() == 1);
}

TEST_CASE("The table has a line for each group, with the range of the last losses") {
  report::RunResults first, second;
  first.valid = {{1, 10, 9.0}, {2, 20, 2.0}};
  second.valid = {{2, 20, 3.0}};
  first.parameters = 4711;
  const report::RunGroup groups[] = {{"batch 1", {&first, &second}}, {"batch 2", {}}};
  std::istringstream table(report::report_table(groups));
  std::string head, line, other;
  std::getline(table, head);
  std::getline(table, line);
  std::getline(table, other);
  std::istringstream words(line);
  std::vector<std::string> row;
  for (std::string word; words >> word;) row.push_back(word);
  // exp(2.5) = 12.18
  CHECK(row == std::vector<std::string>{"batch", "1", "2", "4711", "20", "2.5000", "2.0000", "to", "3.0000",
                                        "12.18"});
  CHECK(other.find("- to -") != std::string::npos);
}
