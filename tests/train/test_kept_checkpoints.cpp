#include "lib/train/checkpoints/kept_checkpoints.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "lib/core/files/atomic_file.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/data/sealed_json.h"
#include "lib/train/checkpoints/checkpoint.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using namespace gca::train;

namespace {

/// A checkpoint as far as keeping it goes: a state, and weights.
void write_checkpoint(const std::string& folder, int64_t step, double valid_loss = std::nan("")) {
  TrainerState state;
  state.step = step;
  if (!std::isnan(valid_loss)) {
    state.valid_results.emplace_back();
    state.valid_results.back().step = step;
    state.valid_results.back().loss = valid_loss;
  }
  replace_folder_atomically(folder, [&](const std::string& aside) {
    write_file_atomically(aside + "/model.safetensors", "weights " + std::to_string(step));
    data::write_sealed_json(aside + "/trainer_state.json", trainer_state_to_json(state));
  });
}

}  // namespace

TEST_CASE("The newest checkpoints are kept, and nothing else is touched") {
  const TemporaryFolder folder;
  const std::string run = folder / "run";
  std::filesystem::create_directories(run + "/kept/step-mine");
  std::filesystem::create_directories(run + "/kept/step-7");  // no checkpoint
  for (const int64_t step : {5, 90, 100, 1000}) {
    write_checkpoint(checkpoint_folder(run), step, step == 100 ? 2.5 : std::nan(""));
    keep_checkpoint(run, step, 2);
  }
  const auto kept = list_kept_checkpoints(run);
  REQUIRE(kept.size() == 2);
  CHECK(kept[0].folder == run + "/kept/step-100");
  CHECK(kept[0].step == 100);
  CHECK(kept[0].valid_loss == 2.5);
  CHECK(std::isnan(kept[1].valid_loss));
  CHECK(read_file(run + "/kept/step-100/model.safetensors") == "weights 100");
  CHECK(read_file(run + "/kept/step-1000/model.safetensors") == "weights 1000");
  CHECK(!std::filesystem::exists(run + "/kept/step-90"));
  CHECK(std::filesystem::exists(run + "/kept/step-mine"));
  CHECK(std::filesystem::exists(run + "/kept/step-7"));

  keep_checkpoint(run, 1000, 2);  // once more
  CHECK(list_kept_checkpoints(run).size() == 2);

  remove_kept_checkpoints(run);
  CHECK(list_kept_checkpoints(run).empty());
  CHECK(std::filesystem::exists(run + "/kept/step-mine"));
}

TEST_CASE("Named checkpoints stay while the newest go, and go where a new run will make them again") {
  const TemporaryFolder folder;
  const std::string run = folder / "run";
  write_checkpoint(checkpoint_folder(run), 3);
  keep_checkpoint_as(run, "start-up");
  write_checkpoint(best_checkpoint_folder(run), 1, 1.75);
  for (const int64_t step : {4, 5}) {
    write_checkpoint(checkpoint_folder(run), step);
    keep_checkpoint(run, step, 1);
  }
  const auto kept = list_kept_checkpoints(run);
  REQUIRE(kept.size() == 3);
  CHECK(kept[0].step == 1);
  CHECK(kept[1].folder == run + "/kept/start-up");
  CHECK(kept[1].step == 3);
  CHECK(kept[2].step == 5);
  CHECK(read_file(run + "/kept/start-up/model.safetensors") == "weights 3");
  keep_checkpoint_as(run, "start-up");  // in place of the earlier one
  CHECK(list_kept_checkpoints(run).at(1).step == 5);

  remove_kept_checkpoints(run);
  CHECK(list_kept_checkpoints(run).size() == 1);  // another run's
  remove_kept_checkpoints(run, {"start-up", "never made"});
  CHECK(!std::filesystem::exists(run + "/kept"));
}

TEST_CASE("The best checkpoint tells its own loss") {
  const TemporaryFolder folder;
  CHECK(std::isinf(best_kept_loss(folder.path())));
  write_checkpoint(best_checkpoint_folder(folder.path()), 30, 1.75);
  CHECK(best_kept_loss(folder.path()) == 1.75);
  CHECK(list_kept_checkpoints(folder.path()).at(0).folder == best_checkpoint_folder(folder.path()));
  remove_kept_checkpoints(folder.path());
  CHECK(!std::filesystem::exists(folder / "kept"));
}
