#include "lib/core/files/folder_lock.h"

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <thread>

#include "lib/core/files/atomic_file.h"
#include "lib/core/files/atomic_folder.h"
#include "tests/support/error_of.h"
#include "tests/support/other_process.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

namespace fs = std::filesystem;
using namespace gca;

namespace {

/// Writes a version of two files: "index.json" and "data", and one that only it has.
void write_version(const std::string& path, const std::string& version) {
  replace_folder_atomically(path, [&](const std::string& fresh) {
    for (const char* name : {"index.json", "data"}) testing::write_file(fresh + "/" + name, version);
    testing::write_file(fresh + "/only-" + version, "");
  });
}

bool is_version(const std::string& path, const std::string& version) {
  return read_file(path + "/index.json") == version && read_file(path + "/data") == version &&
         fs::exists(path + "/only-" + version) && entries_in(path) == 3;
}

}  // namespace

TEST_CASE("a folder is replaced as a whole") {
  const TemporaryFolder folder;
  const std::string path = folder / "parent/checkpoint";  // the parent is created
  for (const std::string version : {"1", "2"}) {
    replace_folder_atomically(path + "/", [&](const std::string& fresh) {
      testing::write_file(fresh + "/version", version);
      fs::create_directory(fresh + "/inner");
      testing::write_file(fresh + "/inner/only-" + version, "");
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
  replace_folder_atomically(path,
                            [](const std::string& fresh) { testing::write_file(fresh + "/version", "1"); });
  CHECK_THROWS_AS(replace_folder_atomically(path,
                                            [](const std::string& fresh) {
                                              testing::write_file(fresh + "/version", "2");
                                              throw std::runtime_error("disk on fire");
                                            }),
                  std::runtime_error);
  CHECK(read_file(path + "/version") == "1");
  CHECK(entries_in(folder.path()) == 1);

  testing::write_file(folder / "file", "mine");
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
    replace_folder_atomically(path,
                              [](const std::string& fresh) { testing::write_file(fresh + "/version", "x"); });
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

TEST_CASE("a folder has one writer at a time, and the other is named") {
  const TemporaryFolder folder;
  const std::string path = folder / "parent/out";
  const OtherProcess writer([&](const auto& ready) {
    replace_folder_atomically(path, [&](const std::string& fresh) {
      testing::write_file(fresh + "/half", "");
      ready();
    });
  });
  CHECK(entries_in(folder / "parent") == 2);  // its lock and its temporary
  const auto refused = error_of([&] { write_version(path, "mine"); });
  REQUIRE(refused);
  CHECK(refused->is_usage());
  CHECK(refused->says(path + ": is being written by process " + std::to_string(writer.id()) + " on "));
  CHECK(entries_in(folder / "parent") == 2);

  writer.kill();
  write_version(path, "mine");
  CHECK(is_version(path, "mine"));
  CHECK(entries_in(folder / "parent") == 1);
}

TEST_CASE("what a killed process left goes, whatever its number, and nothing of the user's") {
  const TemporaryFolder folder;
  for (const char* name : {"out.tmp-1-0", "out.tmp-999999999-shards", "out.tmp-mine", "out2.tmp-1-0"}) {
    fs::create_directory(folder / name);
    testing::write_file(folder / (std::string(name) + "/file"), "x");
  }
  testing::write_file(folder / "out.tmp-lock",
                      "process 1 on nowhere\n");  // of a dead process: nobody holds it
  write_version(folder / "out", "1");
  CHECK(is_version(folder / "out", "1"));
  CHECK(entries_in(folder.path()) == 3);
  CHECK(fs::exists(folder / "out.tmp-mine/file"));
  CHECK(fs::exists(folder / "out2.tmp-1-0/file"));
}

TEST_CASE("a lock may be taken again in its process, and leaves nothing") {
  const TemporaryFolder folder;
  {
    std::optional<FolderLock> first(folder / "new/deep/out");
    fs::create_symlink(folder / "new/deep", folder / "link");
    const FolderLock second(folder / "link/out/");  // the same
    CHECK(second.folder() == first->folder());
    first.reset();
    CHECK(fs::exists(folder / "new/deep/out.tmp-lock"));
  }
  fs::remove(folder / "link");
  CHECK(entries_in(folder.path()) == 0);
}

TEST_CASE("a mount point gets its files one by one") {
  const TemporaryFolder folder;
  const std::string volume = folder / "volume";
  fs::create_directory(volume);
  if (mount("tmpfs", volume.c_str(), "tmpfs", 0, "size=1m") != 0) SKIP_TEST("this sandbox mounts nothing");
  fs::create_directory(volume + "/lost+found");
  for (const std::string version : {"1", "2"}) {
    write_version(volume, version);
    fs::remove(volume + "/lost+found");
    CHECK(is_version(volume, version));
    fs::create_directory(volume + "/lost+found");
  }
  CHECK_THROWS_AS(
      replace_folder_atomically(volume, [](const std::string&) { throw std::runtime_error("no"); }),
      std::runtime_error);
  fs::remove(volume + "/lost+found");
  CHECK(is_version(volume, "2"));

  // Another that sees it as a plain folder of the same disk locks the same file in it.
  const OtherProcess writer([&](const auto& ready) {
    const FolderLock lock(volume);
    ready();
  });
  const std::string elsewhere = folder / "elsewhere";
  fs::create_directory(elsewhere);
  REQUIRE(mount(volume.c_str(), elsewhere.c_str(), nullptr, MS_BIND, nullptr) == 0);
  const auto refused = error_of([&] { write_version(elsewhere, "3"); });
  REQUIRE(refused);
  CHECK(refused->says("is being written by process"));
  writer.kill();
  write_version(elsewhere, "3");
  CHECK(is_version(volume, "3"));
  umount(elsewhere.c_str());
  umount(volume.c_str());
}

TEST_CASE("an exchange of files that was broken off anywhere is completed by the next writer") {
  // What the folder looks like after each of the renames, as they are made one after the other.
  const auto make = [](const std::string& path, int renames) {
    fs::create_directories(path + "/.tmp-next");
    for (const char* name : {"index.json", "data", "only-1"}) testing::write_file(path + "/" + name, "1");
    for (const char* name : {"index.json", "data", "only-2"})
      testing::write_file(path + "/.tmp-next/" + name, "2");
    const auto move = [&](const std::string& from, const std::string& to) {
      if (renames-- > 0) fs::rename(path + from, path + to);
    };
    if (renames > 0) fs::create_directory(path + "/.tmp-old");
    for (const std::string name : {"/index.json", "/data", "/only-1"}) move(name, "/.tmp-old" + name);
    move("/.tmp-old", "/.tmp-removed");
    for (const std::string name : {"/data", "/only-2", "/index.json"}) move("/.tmp-next" + name, name);
    if (renames > 0) fs::remove_all(path + "/.tmp-next");
  };
  for (int renames = 0; renames <= 8; ++renames) {
    CAPTURE(renames);
    const TemporaryFolder folder;
    make(folder / "out", renames);
    // A reader sees a version as a whole or no index.
    const bool has_index = fs::exists(folder / "out/index.json");
    if (has_index) CHECK(read_file(folder / "out/index.json") == read_file(folder / "out/data"));
    { const FolderLock lock(folder / "out"); }
    CHECK(is_version(folder / "out", "2"));
  }
}
