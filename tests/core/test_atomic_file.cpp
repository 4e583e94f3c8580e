#include "lib/core/files/atomic_file.h"

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/error_of.h"
#include "tests/support/other_process.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

namespace fs = std::filesystem;
using namespace gca;

TEST_CASE("a file is replaced as a whole and leaves nothing beside it") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  testing::write_file(path, "old");
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
  testing::write_file(folder / "file", "old");
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
  testing::write_file(folder / "target", "old");
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

TEST_CASE("leftovers of a killed process go, those of a living one stay, whatever their numbers") {
  const TemporaryFolder folder;
  // A number may be that of a living process, in this or another container.
  const std::string dead = folder / ("file.tmp-" + std::to_string(::getppid()) + "-0");
  const std::string other = folder / "file2.tmp-1-0", own = folder / "file.tmp-backup";
  for (const auto& path : {dead, other, own}) testing::write_file(path, "half");
  const OtherProcess writer([&](const auto& ready) {
    AtomicFile file(folder / "file");
    file.write("theirs");
    ready();
  });
  CHECK(entries_in(folder.path()) == 3);
  write_file_atomically(folder / "file", "whole");
  CHECK(entries_in(folder.path()) == 4);  // the other's temporary and the file
  CHECK_FALSE(fs::exists(dead));
  CHECK(fs::exists(other));
  CHECK(fs::exists(own));
  writer.kill();
  write_file_atomically(folder / "file", "again");
  CHECK(entries_in(folder.path()) == 3);
}

TEST_CASE("a file that is a mount point is written where it is") {
  const TemporaryFolder folder;
  testing::write_file(folder / "source", "a longer old text");
  testing::write_file(folder / "file", "");
  if (mount((folder / "source").c_str(), (folder / "file").c_str(), nullptr, MS_BIND, nullptr) != 0)
    SKIP_TEST("this sandbox mounts nothing");
  write_file_atomically(folder / "file", "new");
  CHECK(read_file(folder / "source") == "new");
  CHECK(entries_in(folder.path()) == 2);
  umount((folder / "file").c_str());
}
