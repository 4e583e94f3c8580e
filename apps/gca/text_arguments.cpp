#include "apps/gca/text_arguments.h"

#include <iostream>
#include <iterator>

#include "lib/core/atomic_file.h"
#include "lib/core/error.h"
#include "lib/train/process_settings.h"

namespace gca {

void add_checkpoint_options(CLI::App& command, CheckpointOptions& options) {
  command.add_option("--checkpoint", options.folder, "Folder written by gca pretrain")
      ->required()
      ->type_name("DIR");
  add_tensor_options(command, options.tensor);
}

TextModel open_checkpoint(const CheckpointOptions& options, const CommonOptions& common) {
  if (options.tensor.device != "cpu")
    fail_usage("--device " + options.tensor.device, "this build computes on the CPU only",
               "use --device cpu");
  use_threads(thread_count(common));
  return TextModel::open(options.folder, resolved_dtype(options.tensor));
}

nlohmann::ordered_json checkpoint_config(const CheckpointOptions& options, const TextModel& model) {
  nlohmann::ordered_json config;
  config["checkpoint"] = model.folder;
  config["dtype"] = resolved_dtype(options.tensor);
  config["model"] = model_config_to_json(model.model.config());
  return config;
}

void add_prompt_options(CLI::App& command, PromptOptions& options) {
  CLI::Option* text = command.add_option("--prompt", options.text, "The text")->type_name("TEXT");
  command.add_option("--prompt-file", options.file, "A file with the text; - for standard input")
      ->type_name("FILE")
      ->excludes(text);
}

std::vector<int32_t> read_prompt(const PromptOptions& options, const Tokenizer& tokenizer, int threads) {
  std::string text = options.text;
  std::string where = "--prompt";
  if (options.file == "-") {
    where = "standard input";
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else if (!options.file.empty()) {
    where = "--prompt-file " + options.file;
    text = read_file(options.file);
  }
  if (text.empty()) fail_usage(where, "is empty", "give --prompt TEXT or --prompt-file FILE with some text");
  return tokenizer.encode_parallel(text, threads);
}

}  // namespace gca
