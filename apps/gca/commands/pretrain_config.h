#pragma once
// The settings of a run that begins, from all places that the command line names.

#include <string>

#include "apps/gca/options/pretrain_options.h"
#include "lib/train/settings/run_config.h"

namespace gca::app {

/// Defaults, then the checkpoint of --init, the preset or file of --config, --set, and flags that stand for
/// settings; each overrules those before it.
train::RunConfig new_run_config(const PretrainOptions& options);

/// --set and the flags that stand for settings, on top of `config`.
void apply_flags(const PretrainOptions& options, train::RunConfig& config);

/// Reads the files of --config and --phases, each once: a pipe gives its content no second time, so this is
/// for the process that uses them. Where --config names the report of a run, what that run was told beside
/// its settings (data, checkpoint to start from, task, steps, seed, type) is taken for each flag that was not
/// given. Throws Error(usage) when the report does not say it.
void read_input_files(PretrainOptions& options);

/// A line a setting: key, value, where it comes from.
std::string config_table(const train::RunConfig& config);

}  // namespace gca::app
