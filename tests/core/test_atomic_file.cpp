#include "lib/core/atomic_file.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

namespace fs = std::filesystem;
using namespace gca;

namespace {

void put(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

size_t entries_in(const std::string& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// The id of a process that has ended.
pid_t dead_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

}  // namespace

TEST_CASE("a file is replaced as a whole and leaves nothing beside it") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  put(path, "old");
  std::string large(3'000'001, 'x');
  large.front() = '\0';
  write_file_atomically(path, large);
  CHECK(read_file(path) == large);
  write_file_atomically(path, "");
  CHECK(read_file(path).empty());
  CHECK(entries_in(folder.path()) == 1);
}

TEST_CASE("small and large writes stay in order") {
  const TemporaryFolder folder;
  std::string expected;
  AtomicFile file(folder / "file");
  for (const size_t size : {1, 7, 300'000, 5, 262'144, 0, 1, 262'145, 3}) {
    const std::string part(size, static_cast<char>('a' + expected.size() % 26));
    file.write(part);
    expected += part;
  }
  file.commit();
  CHECK(read_file(folder / "file") == expected);
}

TEST_CASE("a file that is not committed changes nothing") {
  const TemporaryFolder folder;
  put(folder / "file", "old");
  {
    AtomicFile file(folder / "file");
    file.write(std::string(1'000'000, 'x'));
    CHECK(read_file(folder / "file") == "old");
  }
  CHECK(read_file(folder / "file") == "old");
  CHECK(entries_in(folder.path()) == 1);
}

TEST_CASE("writing through a symbolic link keeps the link") {
  const TemporaryFolder folder;
  put(folder / "target", "old");
  fs::create_symlink(folder / "target", folder / "link");
  write_file_atomically(folder / "link", "new");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(read_file(folder / "target") == "new");
}

TEST_CASE("what cannot be written is named") {
  const auto full = error_of([] { write_file_atomically("/dev/full", "x"); });
  REQUIRE(full);
  CHECK_FALSE(full->is_usage());
  CHECK(full->says("/dev/full"));
  CHECK(full->says("No space left on device"));

  const auto missing = error_of([] { write_file_atomically("/no/such/folder/file", "x"); });
  REQUIRE(missing);
  CHECK(missing->says("/no/such/folder/file"));
  CHECK(missing->says("No such file or directory"));

  const TemporaryFolder folder;
  const auto is_folder = error_of([&] { write_file_atomically(folder.path(), "x"); });
  REQUIRE(is_folder);
  CHECK(is_folder->is_usage());
}

TEST_CASE("a file that is missing or a folder cannot be read") {
  const TemporaryFolder folder;
  const auto missing = error_of([&] { read_file(folder / "missing"); });
  REQUIRE(missing);
  CHECK(missing->is_usage());
  CHECK(missing->says(folder / "missing"));
  const auto is_folder = error_of([&] { read_file(folder.path()); });
  REQUIRE(is_folder);
  CHECK(is_folder->is_usage());
}

TEST_CASE("leftovers of a killed process go, those of a living one stay") {
  const TemporaryFolder folder;
  const std::string dead = folder / ("file.tmp-" + std::to_string(dead_process()) + "-0");
  const std::string living = folder / ("file.tmp-" + std::to_string(::getppid()) + "-0");
  const std::string other = folder / ("file2.tmp-" + std::to_string(dead_process()) + "-0");
  for (const auto& path : {dead, living, other}) put(path, "half");
  write_file_atomically(folder / "file", "whole");
  CHECK_FALSE(fs::exists(dead));
  CHECK(fs::exists(living));
  CHECK(fs::exists(other));
}

TEST_CASE("a folder is replaced as a whole") {
  const TemporaryFolder folder;
  const std::string path = folder / "parent/checkpoint";  // the parent is created
  for (const std::string version : {"1", "2"}) {
    replace_folder_atomically(path + "/", [&](const std::string& fresh) {
      put(fresh + "/version", version);
      fs::create_directory(fresh + "/inner");
      put(fresh + "/inner/only-" + version, "");
    });
    CHECK(read_file(path + "/version") == version);
    CHECK(fs::exists(path + "/inner/only-" + version));
    CHECK(entries_in(path + "/inner") == 1);
    CHECK(entries_in(folder / "parent") == 1);
  }
}

TEST_CASE("a folder whose filling fails changes nothing") {
  const TemporaryFolder folder;
  const std::string path = folder / "checkpoint";
  replace_folder_atomically(path, [](const std::string& fresh) { put(fresh + "/version", "1"); });
  CHECK_THROWS_AS(replace_folder_atomically(path,
                                            [](const std::string& fresh) {
                                              put(fresh + "/version", "2");
                                              throw std::runtime_error("disk on fire");
                                            }),
                  std::runtime_error);
  CHECK(read_file(path + "/version") == "1");
  CHECK(entries_in(folder.path()) == 1);

  put(folder / "file", "mine");
  const auto is_file =
      error_of([&] { replace_folder_atomically(folder / "file", [](const std::string&) {}); });
  REQUIRE(is_file);
  CHECK(is_file->is_usage());
  CHECK(read_file(folder / "file") == "mine");
}

TEST_CASE("at every instant a complete folder is there") {
  const TemporaryFolder folder;
  const std::string path = folder / "checkpoint";
  const auto replace = [&] {
    replace_folder_atomically(path, [](const std::string& fresh) { put(fresh + "/version", "x"); });
  };
  replace();
  std::atomic<bool> done = false;
  std::atomic<int> missed = 0;
  std::thread watcher([&] {
    while (!done) missed += ::access((path + "/version").c_str(), R_OK) != 0;
  });
  for (int i = 0; i < 50; ++i) replace();
  done = true;
  watcher.join();
  CHECK(missed == 0);
}
