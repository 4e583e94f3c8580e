// Training runs that are killed, and disks that fill up or break while a checkpoint is saved.

#include <doctest/doctest.h>
#include <sys/mount.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <sstream>
#include <thread>

#include "tests/cli/folder_image.h"
#include "tests/cli/tiny_run.h"
#include "tests/support/run_gca.h"
#include "tests/support/skip.h"

namespace fs = std::filesystem;

namespace {

using Words = std::vector<std::string>;

/// Lines of metrics.jsonl without the speeds, which no run repeats.
std::vector<nlohmann::json> metrics_of(const std::string& output) {
  std::vector<nlohmann::json> lines;
  std::istringstream file(gca::read_file(output + "/metrics.jsonl"));
  for (std::string line; std::getline(file, line);) {
    lines.push_back(nlohmann::json::parse(line));
    lines.back().erase("tokens_per_second");
  }
  return lines;
}

/// A run of four steps, whole and stopped after two.
struct HalvedRun {
  TemporaryFolder folder;
  std::string whole = folder / "whole";
  std::string halved = folder / "halved";
  FolderImage old_checkpoint, new_checkpoint;

  HalvedRun() {
    REQUIRE(run_gca(tiny_run(whole, {"--steps", "4", "--quiet"})).status == 0);
    REQUIRE(run_gca(tiny_run(halved, {"--steps", "4", "--stop-at", "2", "--quiet"})).status == 0);
    old_checkpoint = image_of(halved + "/checkpoint");
    new_checkpoint = weights_of(whole);
  }

  /// trainer_state.json tells how long the steps took, which no run repeats.
  static FolderImage weights_of(const std::string& run) {
    FolderImage image = image_of(run + "/checkpoint");
    image.erase("trainer_state.json");
    return image;
  }

  /// The old checkpoint or the new one is there as a whole, and nothing half-written beside it.
  void check_whole(const std::string& run) const {
    const bool is_old = image_of(run + "/checkpoint") == old_checkpoint;
    const bool is_new = weights_of(run) == new_checkpoint && saved_step(run) == 4;
    CHECK((is_old || is_new));
  }

  void check_goes_on(const std::string& run) const {
    const ProcessResult result = run_gca(resumed(run));
    CHECK_MESSAGE(result.status == 0, result.err);
    CHECK(weights_of(run) == new_checkpoint);
  }
};

/// What a save left beside the checkpoint.
int leftovers_in(const std::string& run) {
  int leftovers = 0;
  for (const auto& entry : fs::directory_iterator(run))
    leftovers += entry.path().filename().string().find(".tmp-") != std::string::npos ? 1 : 0;
  return leftovers;
}

bool is_one_line(const ProcessResult& result) {
  return std::count(result.err.begin(), result.err.end(), '\n') == 1 &&
         result.err.starts_with("gca pretrain: error: ");
}

}  // namespace

TEST_CASE("a run killed at 50 random moments ends with the bits of one that was not" *
          doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  const std::string killed = folder / "killed";
  // Every step is saved, so that many kills fall into a save.
  const Words settings = {"--steps", "100000", "--set", "checkpoint_interval=1", "--quiet"};
  std::mt19937 random(20241);
  std::uniform_int_distribution<int> wait_ms(0, 700);
  int in_save = 0;
  for (int kills = 0; kills < 50; ++kills) {
    const bool has_checkpoint = fs::exists(killed + "/checkpoint");
    RunningProcess run(gca_words(has_checkpoint ? resumed(killed) : tiny_run(killed, settings)));
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms(random)));
    run.send_signal(SIGKILL);
    CHECK(run.wait().status == 128 + SIGKILL);
    if (fs::exists(killed)) in_save += leftovers_in(killed) > 0 ? 1 : 0;
  }
  REQUIRE(fs::exists(killed + "/checkpoint"));
  const int64_t end = saved_step(killed) + 3;
  MESSAGE("killed at 50 moments up to step " << end << ", " << in_save << " times within a save");
  const Words stop = {"--stop-at", std::to_string(end)};
  const ProcessResult last = run_gca(resumed(killed, stop));
  REQUIRE_MESSAGE(last.status == 0, last.err);
  Words straight = settings;
  straight.insert(straight.end(), stop.begin(), stop.end());
  straight.insert(straight.end(), {"--set", "checkpoint_interval=0"});
  REQUIRE(run_gca(tiny_run(folder / "straight", straight)).status == 0);
  CHECK(checkpoint_bytes(killed) == checkpoint_bytes(folder / "straight"));
  CHECK(metrics_of(killed) == metrics_of(folder / "straight"));
}

TEST_CASE("a disk that fills up or breaks at any call of a save leaves a whole checkpoint" *
          doctest::test_suite("slow")) {
  const HalvedRun runs;
  int failures = 0;
  for (const std::string call : {"write", "fsync", "rename", "create", "mkdir"})
    for (const std::string error : {"ENOSPC", "EIO"}) {
      CAPTURE(call);
      CAPTURE(error);
      const std::string run = runs.folder / "damaged";
      for (int number = 1;; ++number) {
        REQUIRE(number < 200);
        CAPTURE(number);
        fs::remove_all(run);
        fs::copy(runs.halved, run, fs::copy_options::recursive);
        Words words = {"env", std::string("LD_PRELOAD=") + GCA_FAULT_SHIM,
                       "GCA_FAULT=" + call + ":" + error + ":" + std::to_string(number) + "+",
                       "GCA_FAULT_UNDER=" + run};
        const Words command = gca_words(resumed(run));
        words.insert(words.end(), command.begin(), command.end());
        const ProcessResult result = run_program(words);
        runs.check_whole(run);
        if (result.status == 0) break;  // there are fewer such calls
        ++failures;
        CAPTURE(result.err);
        CHECK((result.status == 1 || (result.status == 2 && call == "create")));  // 2: the lock
        CHECK(is_one_line(result));
        CHECK(result.err.find(run) != std::string::npos);
        // Where the new checkpoint is in place but the disk will not say that it is safe there, the old one
        // stays until the next save.
        const bool keeps_old = leftovers_in(run) > 0;
        CHECK((!keeps_old || (call == "fsync" && saved_step(run) == 4)));
        if (number <= 2 || keeps_old) runs.check_goes_on(run);
        CHECK((keeps_old || leftovers_in(run) == 0));
      }
    }
  MESSAGE(failures << " calls made to fail");
  CHECK(failures > 30);
}

TEST_CASE("a file that may not grow (ulimit -f) stops a save and leaves the old checkpoint") {
  const HalvedRun runs;
  for (const char* blocks : {"0", "8", "100"}) {
    CAPTURE(blocks);
    const std::string run = runs.folder / "limited";
    fs::remove_all(run);
    fs::copy(runs.halved, run, fs::copy_options::recursive);
    Words words = {"bash", "-c", std::string("ulimit -f ") + blocks + "; exec \"$@\"", "bash"};
    const Words command = gca_words(resumed(run));
    words.insert(words.end(), command.begin(), command.end());
    // Its standard error is a file, too, which may not grow where nothing may.
    const ProcessResult result = run_program(words);
    CHECK(result.status == 1);
    if (std::string(blocks) != "0") CHECK(is_one_line(result));
    CHECK(image_of(run + "/checkpoint") == runs.old_checkpoint);
    CHECK(leftovers_in(run) == 0);
    runs.check_goes_on(run);
  }
}

TEST_CASE("a small disk (tmpfs) that fills up while saving keeps the checkpoint it holds") {
  const HalvedRun runs;
  const std::string disk = runs.folder / "disk";
  fs::create_directory(disk);
  int64_t held_bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(runs.halved))
    if (entry.is_regular_file()) held_bytes += static_cast<int64_t>((entry.file_size() + 4095) / 4096 * 4096);
  // Room for the checkpoint and three quarters of the next.
  const std::string size = "size=" + std::to_string(held_bytes * 7 / 4 / 4096 * 4096);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, size.c_str()) != 0) {
    SKIP_TEST(std::string("this sandbox mounts no tmpfs (") + std::strerror(errno) +
              "); the cases above fill the disk without");
  }
  fs::copy(runs.halved, disk + "/run", fs::copy_options::recursive);
  const ProcessResult result = run_gca(resumed(disk + "/run"));
  CAPTURE(result.err);
  CHECK(result.status == 1);
  CHECK(is_one_line(result));
  CHECK(result.err.find("No space left on device; free some space on that disk") != std::string::npos);
  CHECK(image_of(disk + "/run/checkpoint") == runs.old_checkpoint);
  CHECK(leftovers_in(disk + "/run") == 0);
  fs::copy(disk + "/run", runs.folder / "elsewhere", fs::copy_options::recursive);
  umount(disk.c_str());
  runs.check_goes_on(runs.folder / "elsewhere");
}
