#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "lib/core/files/atomic_file.h"
#include "lib/text/sources/input_files.h"
#include "tests/support/error_of.h"
#include "tests/support/skip.h"
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
  for (const text::InputFile& file : text::list_input_files(inputs).files)
    names.push_back(file.path.starts_with(folder.path()) ? file.path.substr(folder.path().size() + 1)
                                                         : file.path);
  return names;
}

}  // namespace

TEST_CASE("a folder gives its text files, sorted, at any depth, the others are counted") {
  const TemporaryFolder folder;
  for (const char* name : {"b.txt", "a/z.tex", "a/m.md", "c.pdf", ".hidden.txt", ".git/x.txt", "a/d.jsonl",
                           "a/e.ndjson.zst", "f.txt.gz", "g.gz", "h.json"})
    touch(folder / name);
  CHECK(listed(folder, {folder.path()}) ==
        std::vector<std::string>{"a/d.jsonl", "a/e.ndjson.zst", "a/m.md", "a/z.tex", "b.txt", "f.txt.gz"});
  CHECK(text::list_input_files(std::vector{folder.path()}).skipped_files == 4);
}

TEST_CASE("a folder without text files gives every regular file") {
  const TemporaryFolder folder;
  for (const char* name : {"one.rst", "two"}) touch(folder / name);
  CHECK(listed(folder, {folder.path()}) == std::vector<std::string>{"one.rst", "two"});
}

TEST_CASE("links to files and folders are followed, those that lead nowhere or back are counted") {
  const TemporaryFolder folder, elsewhere;
  touch(folder / "a.txt");
  touch(folder / "sub/b.txt");
  touch(elsewhere / "c.txt");
  fs::create_symlink(elsewhere.path(), folder / "linked");
  fs::create_symlink(elsewhere / "c.txt", folder / "sub/d.txt");
  CHECK(listed(folder, {folder.path()}) ==
        std::vector<std::string>{"a.txt", "linked/c.txt", "sub/b.txt", "sub/d.txt"});
  CHECK(text::list_input_files(std::vector{folder.path()}).skipped_files == 0);
  fs::create_symlink("nowhere", folder / "dead.txt");
  fs::create_symlink("..", folder / "sub/back");
  fs::create_symlink(".", elsewhere / "self");
  REQUIRE(mkfifo((folder / "pipe.txt").c_str(), 0600) == 0);
  CHECK(listed(folder, {folder.path()}).size() == 4);
  CHECK(text::list_input_files(std::vector{folder.path()}).skipped_files == 4);
}

TEST_CASE("no folder is read twice, and one that stands there keeps its own name") {
  const TemporaryFolder folder, elsewhere;
  touch(folder / "z/a.txt");
  touch(elsewhere / "deep/b.txt");
  fs::create_symlink(folder / "z", folder / "a-link");       // to a folder that is read anyway
  fs::create_symlink(elsewhere / "deep", folder / "first");  // twice the same one,
  fs::create_symlink(elsewhere.path(), folder / "second");   // once through a folder above it
  CHECK(listed(folder, {folder.path()}) == std::vector<std::string>{"first/b.txt", "z/a.txt"});
  CHECK(text::list_input_files(std::vector{folder.path()}).skipped_files == 2);
}

TEST_CASE("folders that gca wrote are refused at any depth, by name and kind") {
  const std::pair<const char*, const char*> kinds[] = {
      {"run/checkpoint/trainer_state.json", "a training run"},
      {"run/model.safetensors", "a checkpoint"},
      {"run/trainer_state.json", "a checkpoint"}};
  for (const auto& one : kinds) {
    const char *const file = one.first, *const kind = one.second;
    CAPTURE(file);
    const TemporaryFolder folder;
    touch(folder / "books/a.txt");
    touch(folder / "books/index.json");  // of somebody else
    touch(folder / (std::string("books/inner/") + file));
    touch(folder / "books/inner/run/config.json");
    touch(folder / "books/inner/run/metrics.jsonl");
    for (const std::string input : {"books", "books/inner/run"}) {
      const auto error = error_of([&] { text::list_input_files(std::vector{folder / input}); });
      REQUIRE(error);
      CHECK(error->is_usage());
      CHECK(error->says((folder / "books/inner/run") + ": holds " + kind + " and no text"));
    }
  }
  const TemporaryFolder folder;
  touch(folder / "a.txt");
  fs::create_directory(folder / "library");
  write_file_atomically(folder / "library/index.json", R"({"documents": [], "format": "gca.memory/1"})");
  const auto error = error_of([&] { text::list_input_files(std::vector{folder.path()}); });
  REQUIRE(error);
  CHECK(error->says("library: holds gca.memory/1 and no text"));
}

TEST_CASE("what cannot be read is left out and counted") {
  const TemporaryFolder folder;
  touch(folder / "a.txt");
  touch(folder / "b.txt");
  fs::create_directory(folder / "lost+found");
  for (const char* name : {"lost+found", "b.txt"}) fs::permissions(folder / name, fs::perms::none);
  if (access((folder / "lost+found").c_str(), R_OK) == 0)
    SKIP_TEST("this user may read everything (tests/cli/test_sources.cpp tries it as another user)");
  const text::InputFiles inputs = text::list_input_files(std::vector{folder.path()});
  CHECK(inputs.files.size() == 1);
  CHECK(inputs.skipped_files == 2);
}

TEST_CASE("files are taken in the order given, whatever their names, - is standard input") {
  const TemporaryFolder folder;
  touch(folder / "b.pdf");
  touch(folder / "a.txt");
  CHECK(listed(folder, {folder / "b.pdf", "-", folder / "a.txt", folder / "b.pdf"}) ==
        std::vector<std::string>{"b.pdf", "-", "a.txt", "b.pdf"});
  const text::InputFiles inputs = text::list_input_files(std::vector<std::string>{"-", folder / "a.txt"});
  CHECK(inputs.files[0].is_stream);
  CHECK_FALSE(inputs.files[1].is_stream);
}

TEST_CASE("a pipe is a stream") {
  const TemporaryFolder folder;
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(text::list_input_files(std::vector{folder / "pipe"}).files.at(0).is_stream);
}

TEST_CASE("a missing input and an empty folder are refused by name") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "empty");
  for (const std::string name : {"missing", "empty"}) {
    const auto error = error_of([&] { text::list_input_files(std::vector{folder / name}); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says(name));
  }
}
