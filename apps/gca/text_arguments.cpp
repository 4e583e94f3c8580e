#include "apps/gca/text_arguments.h"

namespace gca {

void add_checkpoint_options(CLI::App& command, CheckpointOptions& options) {
  command.add_option("--checkpoint", options.folder, "Folder written by gca pretrain")
      ->required()
      ->type_name("DIR");
  add_tensor_options(command, options.tensor);
}

void add_prompt_options(CLI::App& command, PromptOptions& options) {
  CLI::Option* text = command.add_option("--prompt", options.text, "Text of the prompt")->type_name("TEXT");
  command.add_option("--prompt-file", options.file, "File with the prompt; - for standard input")
      ->type_name("FILE")
      ->excludes(text);
}

}  // namespace gca
