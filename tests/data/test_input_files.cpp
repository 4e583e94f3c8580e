#include <doctest/doctest.h>

#include <sys/stat.h>

#include <filesystem>

#include "lib/core/atomic_file.h"
#include "lib/data/input_files.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
namespace fs = std::filesystem;

namespace {

void touch(const std::string& path) {
  fs::create_directories(fs::path(path).parent_path());
  write_file_atomically(path, "x");
}

/// Names below `folder`.
std::vector<std::string> listed(const TemporaryFolder& folder, const std::vector<std::string>& inputs) {
  std::vector<std::string> names;
  for (const TextInput& text : list_text_inputs(inputs).texts)
    names.push_back(text.name.starts_with(folder.path()) ? text.name.substr(folder.path().size() + 1)
                                                         : text.name);
  return names;
}

}  // namespace

TEST_CASE("a folder gives its text files, sorted, at any depth, the others are counted") {
  const TemporaryFolder folder;
  for (const char* name : {"b.txt", "a/z.tex", "a/m.md", "c.pdf", ".hidden.txt", ".git/x.txt"})
    touch(folder / name);
  CHECK(listed(folder, {folder.path()}) == std::vector<std::string>{"a/m.md", "a/z.tex", "b.txt"});
  CHECK(list_text_inputs(std::vector{folder.path()}).skipped_files == 2);
}

TEST_CASE("a folder without text files gives every regular file") {
  const TemporaryFolder folder;
  for (const char* name : {"one.rst", "two"}) touch(folder / name);
  CHECK(listed(folder, {folder.path()}) == std::vector<std::string>{"one.rst", "two"});
}

TEST_CASE("files are taken in the order given, whatever their names, - is standard input") {
  const TemporaryFolder folder;
  touch(folder / "b.pdf");
  touch(folder / "a.txt");
  CHECK(listed(folder, {folder / "b.pdf", "-", folder / "a.txt", folder / "b.pdf"}) ==
        std::vector<std::string>{"b.pdf", "-", "a.txt", "b.pdf"});
  const TextInputs inputs = list_text_inputs(std::vector<std::string>{"-", folder / "a.txt"});
  CHECK(inputs.texts[0].is_stream);
  CHECK_FALSE(inputs.texts[1].is_stream);
}

TEST_CASE("a pipe is a stream") {
  const TemporaryFolder folder;
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(list_text_inputs(std::vector{folder / "pipe"}).texts.at(0).is_stream);
}

TEST_CASE("a missing input and an empty folder are refused by name") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "empty");
  for (const std::string name : {"missing", "empty"}) {
    const auto error = error_of([&] { list_text_inputs(std::vector{folder / name}); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says(name));
  }
}
