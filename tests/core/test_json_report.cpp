#include "lib/core/json/json_report.h"

#include <doctest/doctest.h>

#include <cmath>
#include <ctime>
#include <limits>
#include <thread>

#include "lib/core/files/atomic_file.h"
#include "lib/core/machine/machine_memory.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using nlohmann::json;

TEST_CASE("the envelope holds what scripts rely on") {
  const TemporaryFolder folder;
  JsonReport report("gca.test/1", "1.2.3-4-gabc", {"gca", "test", "--seed", "7"});
  report.seed = 18446744073709551615u;
  report.threads = 2;
  report.device = "cuda";
  report.config["a"] = 1;
  report.result["loss"] = 2.5;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  report.write(folder / "report.json");

  const json document = json::parse(read_file(folder / "report.json"));
  CHECK(document["schema"] == "gca.test/1");
  CHECK(document["command"] == json({"gca", "test", "--seed", "7"}));
  CHECK(document["version"] == "1.2.3-4-gabc");
  CHECK(document["seconds"].get<double>() >= 0.02);
  CHECK(document["seconds"].get<double>() < 60);
  CHECK(document["seed"] == 18446744073709551615u);
  CHECK(document["config"] == json{{"a", 1}});
  CHECK(document["result"] == json{{"loss", 2.5}});
  CHECK(document["machine"]["threads"] == 2);
  CHECK(document["machine"]["device"] == "cuda");
  CHECK(document["machine"]["cpu"].is_string());
  CHECK(document["machine"]["memory"].get<int64_t>() > (1 << 26));

  std::tm utc = {};
  const auto started = document["started"].get<std::string>();
  const char* end = ::strptime(started.c_str(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  REQUIRE(end != nullptr);
  CHECK(*end == '\0');
  CHECK(std::abs(std::difftime(::timegm(&utc), std::time(nullptr))) < 60);
}

TEST_CASE("non-finite numbers become null, damaged text readable") {
  JsonReport report("gca.test/1", "1.2.3", {});
  report.result["nan"] = std::nan("");
  report.result["infinite"] = -std::numeric_limits<double>::infinity();
  report.result["text"] = "a\xFFz";
  const json document = json::parse(report.text());
  CHECK(document["result"]["nan"].is_null());
  CHECK(document["result"]["infinite"].is_null());
  CHECK(document["result"]["text"] == "a\xEF\xBF\xBDz");
}

TEST_CASE("peak memory grows with what is touched") {
  const int64_t before = peak_memory_bytes();
  const int64_t now_bytes = int64_t{200} << 20;
  std::string block(static_cast<size_t>(now_bytes), 'x');
  CHECK(block[12345] == 'x');
  CHECK(peak_memory_bytes() >= now_bytes);
  CHECK(peak_memory_bytes() >= before);
}
