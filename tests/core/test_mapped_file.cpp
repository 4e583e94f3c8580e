#include "lib/core/files/mapped_file.h"

#include <doctest/doctest.h>

#include <fstream>
#include <string_view>
#include <utility>

#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;

namespace {

std::string_view content_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.data()), file.size_bytes()};
}

}  // namespace

TEST_CASE("a mapped file shows its bytes and can be moved") {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "content";
  std::ofstream(folder / "other") << "other";
  MappedFile file(folder / "file");
  CHECK(content_of(file) == "content");
  MappedFile moved(std::move(file));
  CHECK(content_of(moved) == "content");
  moved = MappedFile(folder / "other");
  CHECK(content_of(moved) == "other");
}

TEST_CASE("an empty file has no bytes") {
  const TemporaryFolder folder;
  std::ofstream(folder / "empty").flush();
  CHECK(MappedFile(folder / "empty").size_bytes() == 0);
}

TEST_CASE("what is not a file is refused by name") {
  const TemporaryFolder folder;
  for (const std::string& path : {folder / "missing", folder.path(), std::string("/dev/null")}) {
    const auto error = error_of([&] { MappedFile file(path); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->message.starts_with(path + ": "));
  }
}
