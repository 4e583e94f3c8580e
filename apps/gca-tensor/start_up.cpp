#include "apps/gca-tensor/start_up.h"

#include <filesystem>

#include "lib/core/error.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/train/checkpoints/start_up_weights.h"
#include "lib/train/settings/start_up_curriculum.h"

namespace gca::app {
namespace {

/// Beside gca-tensor, in a build folder and in an installation.
std::string shipped_folder() {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "start-up").string();
}

}  // namespace

StartUp planned_start_up(const PretrainOptions& options, const train::RunConfig& config) {
  const std::string& start_up = config.train.start_up;
  if (start_up == train::kNoStartUp) return {};
  const auto source = config.sources.find("start_up");
  const bool is_proposed = source != config.sources.end() && source->second.starts_with("preset ");
  const std::string where = is_proposed || source == config.sources.end() ? "start_up" : source->second;

  const bool is_plain_text = options.task == tasks::kTextTask && options.phases_json.is_null();
  const bool retrieves = model::backbone_kind(config.model).keeps_chunk_memory;
  if (is_proposed && (!options.init.empty() || !is_plain_text || !retrieves)) return {};
  if (is_proposed && model::chooses_by_vectors(config.model))
    return {.folder = {},
            .notice = "no start-up: its copies have no chunk vectors, which retriever frozen chooses by"};
  if (!options.init.empty())
    fail_usage(where, "start_up is " + start_up + ", and --init names other weights", "give one of them");
  if (!retrieves)
    fail_usage(where, "a model with long_range " + config.model.long_range + " has nothing to start up",
               "give --start-up none");
  model::require_choice_without_vectors(config.model, where + ", start_up " + start_up,
                                        "a copy of a start-up");

  if (start_up == train::kTrainedStartUp) {
    if (!is_plain_text)
      fail_usage(where, "start_up train has phases of its own, before text",
                 options.phases_json.is_null() ? "leave --task out" : "leave --phases out");
    return {.folder = {}, .is_trained = true, .notice = {}};
  }
  if (start_up != train::kShippedStartUp)
    return {.folder = model::find_checkpoint(start_up, where + ", start_up " + start_up), .notice = {}};
  const std::string found = train::find_start_up(shipped_folder(), config.model);
  if (!found.empty()) return {.folder = found, .notice = {}};
  if (!is_proposed)
    fail_usage(where, "no start-up weights of these sizes are shipped",
               "name a checkpoint of the same sizes, or give --start-up train, or none");
  return {.folder = {},
          .notice =
              "no start-up weights of these sizes are shipped: training begins with nothing, and may not "
              "learn to retrieve; --start-up train teaches that first (docs/training.md)"};
}

}  // namespace gca::app
