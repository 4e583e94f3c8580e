#pragma once
// A checkpoint folder, in the layout that Hugging Face tools read:
//   config.json            sizes and switches (lib/model/model_config.h)
//   model.safetensors      the fp32 masters, by the names of docs/model.md
//   tokenizer.model        SentencePiece, or tokenizer.json, byte-level BPE; absent where a task needs none
//   optimizer.safetensors  first_moment.NAME and second_moment.NAME of every weight NAME, float32
//   trainer_state.json     where the run stands (lib/train/checkpoints/trainer_state.h)
// It is written aside, flushed and put in place as a whole: a complete checkpoint is there at every instant,
// also after kill -9.

#include <string>

#include "lib/model/language_model.h"
#include "lib/parallel/communicator.h"
#include "lib/train/checkpoints/trainer_state.h"
#include "lib/train/step/optimizer.h"

namespace gca::train {

/// Name of the checkpoint within a run's output folder.
std::string checkpoint_folder(const std::string& output);

/// `config` is the model's but for settings that may change while it is trained. `tokenizer_file` is the
/// content of the tokenizer's file, empty for none. Rank 0 writes, the others give it their moments (`communicator`, null
/// for one process); all return when it is written, or throw when it cannot be.
void save_checkpoint(const std::string& folder, const model::LanguageModel& model,
                     const model::ModelConfig& config, const Optimizer& optimizer, const TrainerState& state,
                     const std::string& tokenizer_file, parallel::Communicator* communicator = nullptr);

/// Error(usage) when there is no checkpoint or it cannot be resumed.
TrainerState load_trainer_state(const std::string& folder);

/// Reads the moments of `model`'s weights; Error(usage) naming a tensor that is missing or of another shape.
void load_optimizer(const std::string& folder, const model::LanguageModel& model, Optimizer& optimizer);

/// Sets the weights of `model` from a checkpoint of the same sizes, whatever its switches, in F32 or BF16;
/// Error(usage) naming a tensor that is missing or of another shape.
void load_weights(const std::string& folder, model::LanguageModel& model);

}  // namespace gca::train
