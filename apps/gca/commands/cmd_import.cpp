// gca import: its flags.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/import_options.h"
#include "apps/gca/tensor_stages.h"

namespace gca::app {

void add_import_command(CLI::App& app) {
  auto options = std::make_shared<ImportOptions>();
  CLI::App* command = app.add_subcommand("import", "Make a checkpoint of another program's Llama");
  command
      ->add_option("INPUT", options->input,
                   "Folder with config.json, safetensors files and a tokenizer; or a GGUF file")
      ->required();
  command->add_option("--output", options->output, "Folder to write")->required()->type_name("DIR");
  add_common_options(*command, options->common);
  command->callback([options] { run_import(*options); });
}

}  // namespace gca::app
