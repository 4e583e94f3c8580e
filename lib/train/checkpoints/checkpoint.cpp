#include "lib/train/checkpoints/checkpoint.h"

#include <ATen/ops/from_blob.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <filesystem>
#include <functional>
#include <optional>
#include <utility>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/core/files/mapped_file.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/data/sealed_json.h"
#include "lib/model/weight_files.h"
#include "lib/parallel/agreement.h"
#include "lib/text/tokenizer_file.h"

namespace gca::train {
namespace {

const std::string kFirstMoment = "first_moment.";
const std::string kSecondMoment = "second_moment.";

const char* dtype_name(at::ScalarType type) {
  return type == at::kDouble ? "F64" : "F32";
}

struct NamedMoment {
  Moment moment;
  size_t weight;
  std::string name;  ///< in optimizer.safetensors
};

/// In the order of the file.
std::vector<NamedMoment> moments_of(const model::LanguageModel& model) {
  std::vector<NamedMoment> moments;
  for (const auto& [moment, prefix] :
       {std::pair(Moment::first, kFirstMoment), {Moment::second, kSecondMoment}})
    for (size_t i = 0; i < model.weights().size(); ++i)
      if (model.weights()[i].rules.trained) moments.push_back({moment, i, prefix + model.weights()[i].name});
  return moments;
}

/// Writes moments whose values are at `data`, one after the other.
void write_moments(const std::string& path, const model::LanguageModel& model,
                   const std::vector<const void*>& data) {
  const std::vector<NamedMoment> moments = moments_of(model);
  std::vector<SafetensorsTensor> tensors;
  for (size_t i = 0; i < moments.size(); ++i) {
    const at::Tensor& master = model.weights()[moments[i].weight].master;
    tensors.push_back({moments[i].name, dtype_name(master.scalar_type()), master.sizes().vec(), data[i]});
  }
  write_safetensors(path, tensors, {{"format", "pt"}});
}

void save_optimizer(const std::string& path, const model::LanguageModel& model, const Optimizer& optimizer) {
  std::vector<at::Tensor> values;
  std::vector<const void*> data;
  for (const NamedMoment& moment : moments_of(model)) {
    values.push_back(optimizer.moment(moment.moment, moment.weight));
    data.push_back(values.back().const_data_ptr());
  }
  write_moments(path, model, data);
}

/// The moments of all ranks, gathered on rank 0 one after the other into a scratch file: in memory they would take what
/// sharing them out saves.
class GatheredMoments {
 public:
  /// All ranks together. What goes wrong with the file is told by write().
  GatheredMoments(std::string path, const model::LanguageModel& model, const Optimizer& optimizer,
                  bool is_writer)
      : path_(std::move(path)) {
    if (is_writer) attempt([&] { file_.emplace(path_); });
    for (const NamedMoment& moment : moments_of(model)) {
      const at::Tensor values = optimizer.moment(moment.moment, moment.weight);
      if (is_writer) attempt([&] { file_->write(values.const_data_ptr(), values.nbytes()); });
    }
  }
  ~GatheredMoments() {
    std::error_code ignored;
    if (is_committed_) std::filesystem::remove(path_, ignored);
  }
  GatheredMoments(const GatheredMoments&) = delete;
  GatheredMoments& operator=(const GatheredMoments&) = delete;

  /// On the writer: optimizer.safetensors at `path`.
  void write(const std::string& path, const model::LanguageModel& model) {
    attempt([&] { file_->commit(); });
    if (failure_) throw *failure_;
    is_committed_ = true;
    const MappedFile values(path_);
    std::vector<const void*> data;
    size_t offset = 0;
    for (const NamedMoment& moment : moments_of(model)) {
      data.push_back(values.data() + offset);
      offset += model.weights()[moment.weight].master.nbytes();
    }
    write_moments(path, model, data);
  }

 private:
  template <class Work>
  void attempt(const Work& work) {
    if (failure_) return;
    try {
      work();
    } catch (const Error& error) {
      failure_ = error;
    }
  }

  std::string path_;
  std::optional<AtomicFile> file_;
  std::optional<Error> failure_;
  bool is_committed_ = false;
};

/// The tensor `name` of `file`, which must be of the type and shape of `like`. Its values are those of the mapped file.
at::Tensor mapped_tensor(const SafetensorsFile& file, const std::string& name, const at::Tensor& like) {
  const SafetensorsEntry& entry = file.at(name);
  if (entry.dtype != dtype_name(like.scalar_type()) || entry.shape != like.sizes().vec())
    fail_usage(file.path(),
               fmt::format("tensor {} is {} ({}), this run's is {} ({})", name, entry.dtype,
                           fmt::join(entry.shape, ", "), dtype_name(like.scalar_type()),
                           fmt::join(like.sizes().vec(), ", ")),
               "use the sizes that the checkpoint's config.json names");
  // from_blob wants a mutable pointer; the values are read only.
  auto* data = const_cast<std::byte*>(entry.data);
  return at::from_blob(data, like.sizes(), at::TensorOptions(like.scalar_type()));
}

/// The token that ends a text stands in config.json where Hugging Face tools look for it; it is no setting of
/// the model.
void name_end_token(const std::string& config_path, int64_t end_token) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(read_file(config_path));
  config["eos_token_id"] = end_token;
  write_file_atomically(config_path, config.dump(2) + "\n");
}

}  // namespace

std::string checkpoint_folder(const std::string& output) {
  return output + "/checkpoint";
}

void save_checkpoint(const std::string& folder, const model::LanguageModel& model,
                     const model::ModelConfig& config, const Optimizer& optimizer, const TrainerState& state,
                     const std::string& tokenizer_file, parallel::Communicator* communicator) {
  const auto write = [&](const std::function<void(const std::string& path)>& write_optimizer) {
    replace_folder_atomically(folder, [&](const std::string& aside) {
      model::save_model(model, config, aside, tokenizer_file.empty() ? "" : sha256_hex(tokenizer_file));
      if (state.end_token >= 0) name_end_token(aside + "/config.json", state.end_token);
      write_optimizer(aside + "/optimizer.safetensors");
      if (!tokenizer_file.empty())
        write_file_atomically(aside + "/" + text::tokenizer_file_name(tokenizer_file), tokenizer_file);
      data::write_sealed_json(aside + "/trainer_state.json", trainer_state_to_json(state));
    });
  };
  if (communicator == nullptr)
    return write([&](const std::string& path) { save_optimizer(path, model, optimizer); });
  const bool is_writer = communicator->rank() == 0;
  GatheredMoments moments(folder + ".moments", model, optimizer, is_writer);
  parallel::succeed_together(communicator, [&] {
    if (is_writer) write([&](const std::string& path) { moments.write(path, model); });
  });
}

TrainerState load_trainer_state(const std::string& folder) {
  const std::string path = folder + "/trainer_state.json";
  if (!std::filesystem::exists(path))
    fail_usage(folder, "no checkpoint to resume from", "leave out --resume to begin a run");
  const nlohmann::json json = nlohmann::json::parse(read_file(path), nullptr, false);
  TrainerState state = trainer_state_from_json(json, path);
  if (json.contains("seal"))  // checkpoints of earlier versions have none
    data::require_seal(json, path, "resume from a checkpoint that is whole, or begin a new run with --init");
  return state;
}

void load_optimizer(const std::string& folder, const model::LanguageModel& model, Optimizer& optimizer) {
  const SafetensorsFile file(folder + "/optimizer.safetensors");
  file.verify();
  for (const NamedMoment& moment : moments_of(model))
    optimizer.set_moment(moment.moment, moment.weight,
                         mapped_tensor(file, moment.name, model.weights()[moment.weight].master));
}

void load_weights(const std::string& folder, model::LanguageModel& model) {
  model::require_sound_model_files(folder);
  model::read_weights(SafetensorsFile(folder + "/model.safetensors"), model,
                      "use the sizes that the checkpoint's config.json names");
}

}  // namespace gca::train
