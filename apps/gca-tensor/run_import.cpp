// gca import and gca export: checkpoints of this program made of a Llama's, and the other way.

#include <filesystem>

#include <fmt/format.h>

#include "apps/gca-tensor/checkpoint_copy.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/options/import_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/model/language_model.h"
#include "lib/model/llama/gguf_llama.h"
#include "lib/model/llama/llama_config.h"
#include "lib/model/llama/llama_files.h"
#include "lib/text/byte_level_bpe/gguf_tokenizer.h"
#include "lib/text/tokenizer_file.h"
#include "lib/train/step/process_settings.h"

namespace gca::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void finish(JsonReport& report, const CommonOptions& common, const std::string& output,
            const model::LanguageModel& model, const std::vector<std::string>& copied) {
  report.result["parameters"] = model.parameter_count();
  report.result["layers"] = model.config().n_lower_layers + model.config().n_upper_layers;
  report.result["copied"] = copied;
  std::string line = fmt::format("{} parameters in {} layers", model.parameter_count(),
                                 report.result["layers"].get<int64_t>());
  for (const std::string& name : copied) line += ", " + name;
  finish_report(report, common, "", fmt::format("{}: {}\n", output, line));
}

/// A GGUF file carries its tokenizer.
void import_gguf(const ImportOptions& options, JsonReport& report) {
  const GgufFile file(options.input);
  const std::string output = claim_new_folder(options.output);
  const std::string tokenizer = text::tokenizer_json_of(file);
  const model::LanguageModel model = model::load_gguf(file);
  replace_folder_atomically(output, [&](const std::string& aside) {
    model::save_model(model, aside, sha256_hex(tokenizer));
    write_file_atomically(aside + "/tokenizer.json", tokenizer);
    Json config = read_json_object(aside + "/config.json");
    config.update(model::gguf_token_ids(file));
    write_file_atomically(aside + "/config.json", config.dump(2) + "\n");
  });
  report.config["model"] = model::model_config_to_json(model.config());
  finish(report, options.common, options.output, model, {"tokenizer.json"});
}

}  // namespace

void run_import(const ImportOptions& options) {
  train::use_threads(thread_count(options.common));
  JsonReport report = begin_report("import", options.common);
  report.config["input"] = options.input;
  report.config["output"] = options.output;
  if (fs::is_regular_file(options.input)) return import_gguf(options, report);
  const std::string input = model::find_checkpoint(options.input, options.input);
  if (!model::is_foreign_config(read_json_object(input + "/config.json")))
    fail_usage(options.input, "is a checkpoint of gca already", "use it as it is");
  const std::string output = claim_new_folder(options.output);
  const model::LanguageModel model =
      model::load_model(input, at::kFloat, at::kCPU, model::WeightDtype::compute, model::Masters::kept);
  std::vector<std::string> copied;
  replace_folder_atomically(output, [&](const std::string& aside) {
    const std::string tokenizer = text::find_tokenizer_file(input);
    model::save_model(model, aside, fs::exists(tokenizer) ? sha256_hex(read_file(tokenizer)) : "");
    copied = copy_tokenizer(input, aside);
  });
  report.config["model"] = model::model_config_to_json(model.config());
  finish(report, options.common, options.output, model, copied);
}

void run_export(const ExportOptions& options) {
  train::use_threads(thread_count(options.common));
  JsonReport report = begin_report("export", options.common);
  const std::string input = model::find_checkpoint(options.input, options.input);
  const std::string output = claim_new_folder(options.output);
  // What cannot be written is told before the weights are read.
  model::llama_config_to_json(model::read_model_config(input), "float32", options.input);
  const model::LanguageModel model =
      model::load_model(input, at::kFloat, at::kCPU, model::WeightDtype::compute, model::Masters::kept);
  std::vector<std::string> copied;
  replace_folder_atomically(output, [&](const std::string& aside) {
    model::save_llama(model, options.dtype == "bf16" ? at::kBFloat16 : at::kFloat, aside, options.input);
    copied = copy_tokenizer(input, aside);
  });
  report.config["input"] = options.input;
  report.config["output"] = options.output;
  report.config["dtype"] = options.dtype;
  finish(report, options.common, options.output, model, copied);
}

}  // namespace gca::app
