#include "lib/train/checkpoints/kept_checkpoints.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "lib/core/error.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/train/checkpoints/checkpoint.h"

namespace gca::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStepPrefix = "step-";

std::string kept_folder(const std::string& output) {
  return output + "/kept";
}

/// The names of the checkpoints in RUN/kept; nothing else that may lie there.
std::vector<std::string> kept_names(const std::string& output) {
  std::vector<std::string> names;
  std::error_code none;
  for (fs::directory_iterator entry(kept_folder(output), none), end; !none && entry != end;
       entry.increment(none))
    if (fs::exists(entry->path() / "trainer_state.json")) names.push_back(entry->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

struct KeptStep {
  int64_t step = 0;
  std::string folder;
};

/// Those of keep_checkpoint(), oldest first.
std::vector<KeptStep> kept_steps(const std::string& output) {
  std::vector<KeptStep> kept;
  for (const std::string& name : kept_names(output)) {
    if (!name.starts_with(kStepPrefix)) continue;
    int64_t step = 0;
    const char* digits = name.data() + std::string_view(kStepPrefix).size();
    const auto [rest, error] = std::from_chars(digits, name.data() + name.size(), step);
    if (error == std::errc() && rest == name.data() + name.size())
      kept.push_back({step, kept_folder(output) + "/" + name});
  }
  std::sort(kept.begin(), kept.end(), [](const KeptStep& a, const KeptStep& b) { return a.step < b.step; });
  return kept;
}

KeptCheckpoint described(const std::string& folder) {
  const TrainerState state = load_trainer_state(folder);
  const bool is_measured = !state.valid_results.empty() && state.valid_results.back().step == state.step;
  return {folder, state.step,
          is_measured ? loss_to_compare(state.valid_results) : std::numeric_limits<double>::quiet_NaN()};
}

}  // namespace

std::string best_checkpoint_folder(const std::string& output) {
  return kept_folder(output) + "/best";
}

void remove_kept_checkpoints(const std::string& output, const std::vector<std::string>& names) {
  fs::remove_all(best_checkpoint_folder(output));
  for (const std::string& name : names) fs::remove_all(kept_folder(output) + "/" + name);
  for (const KeptStep& kept : kept_steps(output)) fs::remove_all(kept.folder);
  std::error_code not_empty;
  fs::remove(kept_folder(output), not_empty);
}

void keep_checkpoint_as(const std::string& output, const std::string& name) {
  replace_folder_atomically(kept_folder(output) + "/" + name, [&](const std::string& aside) {
    for (const auto& file : fs::directory_iterator(checkpoint_folder(output))) {
      const fs::path target = aside / file.path().filename();
      std::error_code error;
      fs::create_hard_link(file.path(), target, error);
      if (error) fs::copy_file(file.path(), target);
    }
  });
}

void keep_checkpoint(const std::string& output, int64_t step, int64_t count) {
  keep_checkpoint_as(output, kStepPrefix + std::to_string(step));
  std::vector<KeptStep> kept = kept_steps(output);
  for (size_t i = 0; i + static_cast<size_t>(count) < kept.size(); ++i) fs::remove_all(kept[i].folder);
}

double best_kept_loss(const std::string& output) {
  const std::string folder = best_checkpoint_folder(output);
  return fs::exists(folder) ? described(folder).valid_loss : std::numeric_limits<double>::infinity();
}

std::vector<KeptCheckpoint> list_kept_checkpoints(const std::string& output) {
  std::vector<KeptCheckpoint> list;
  if (fs::exists(best_checkpoint_folder(output))) list.push_back(described(best_checkpoint_folder(output)));
  for (const std::string& name : kept_names(output)) {
    const std::string folder = kept_folder(output) + "/" + name;
    if (!name.starts_with(kStepPrefix) && folder != best_checkpoint_folder(output))
      list.push_back(described(folder));
  }
  for (const KeptStep& kept : kept_steps(output)) list.push_back(described(kept.folder));
  return list;
}

}  // namespace gca::train
