#include "lib/train/progress/metrics_log.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "tests/support/temporary_folder.h"

using gca::train::MetricsLog;

namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("A resumed log keeps the lines of the checkpoint's past and drops what came after it") {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  std::ofstream(path)
      << "{\"step\":0,\"valid\":{}}\n{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}\n"
      << "{\"step\":2,\"valid\":{}}\n{\"step\":3,\"loss\":1}\n{\"step\":4,\"lo";  // kill -9 here
  {
    MetricsLog log(path, 2);
    log.append({{"step", 3}, {"loss", 0.5}});
  }
  CHECK(content_of(path) ==
        "{\"step\":0,\"valid\":{}}\n{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}\n"
        "{\"step\":2,\"valid\":{}}\n{\"step\":3,\"loss\":0.5}\n");
  { MetricsLog log(path, 3); }
  CHECK(content_of(path).ends_with("{\"step\":3,\"loss\":0.5}\n"));
  { MetricsLog log(path, -1); }
  CHECK(content_of(path).empty());
}
