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
  run.path = "@SCRIPTS@";
  run.valid = {{.step = 1, .tokens = 10, .loss = 3.0}};
  const report::Comparison comparison = {{"<i>"}, {{"<b>&amp;</b>", {&run}, {"</script>"}}}};
  const std::string page = report::report_page(comparison);
  const json data = data_of(page);
  CHECK(data["settings"] == json::array({"<i>"}));
  REQUIRE(data["groups"].size() == 1);
  CHECK(data["groups"][0]["name"] == "<b>&amp;</b>");
  CHECK(data["groups"][0]["values"] == json::array({"</script>"}));
  CHECK(data["groups"][0]["runs"][0]["name"] == "</script><script>alert(1)</script><!-- \xef\xbf\xbd");
  CHECK(data["groups"][0]["runs"][0]["path"] == "@SCRIPTS@");
  CHECK(data["groups"][0]["tokens_per_second"]["mean"] == nullptr);
  CHECK(data["charts"].size() == 1);
  for (const char* mark : {"@DATA@", "@STYLE@"}) CHECK(page.find(mark) == std::string::npos);
}

TEST_CASE("A group's numbers are means and ranges of what its runs reached") {
  report::RunResults first, second;
  first.seed = 1, second.seed = 2;
  first.train_seconds = 10, second.train_seconds = 20;
  first.valid = {{.step = 1, .loss = 9.0},
                 {.step = 2, .loss = 2.0, .bits_per_byte = 1.0, .reading = {3, 4, 5, 0.5}}};
  second.valid = {{.step = 2, .loss = 3.0, .bits_per_byte = 2.0, .reading = {3, 3.5, 5.5, 1.5}}};
  first.contexts = {{512, "learned", 1.0, 2.7, 0.5, "books"}, {512, "none", 2.0, 7.4, 1.5, "books"}};
  second.contexts = {{512, "learned", 2.0, 7.4, 1.0, "books"}};
  const json group = data_of(report::report_page({{}, {{"a", {&first, &second}, {}}}}))["groups"][0];
  CHECK(group["seeds"] == "1, 2");
  CHECK(group["seconds"] == json{{"mean", 15.0}, {"low", 10.0}, {"high", 20.0}});
  CHECK(group["loss"] == json{{"mean", 2.5}, {"low", 2.0}, {"high", 3.0}});
  CHECK(group["bits_per_byte"]["mean"] == 1.5);
  CHECK(group["of_reading"]["mean"] == 2.25);
  CHECK(group["of_choice"]["mean"] == 0.75);
  CHECK(group["score_spread"]["mean"] == 1.0);
  CHECK(group["has_ended"] == false);
  REQUIRE(group["contexts"].size() == 2);
  CHECK(group["contexts"][0]["retriever"] == "learned");
  CHECK(group["contexts"][0]["bits_per_byte"]["mean"] == 0.75);
}
