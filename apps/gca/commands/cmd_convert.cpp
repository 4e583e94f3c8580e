// gca convert: its flags.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/convert_options.h"
#include "apps/gca/tensor_stages.h"

namespace gca::app {

void add_convert_command(CLI::App& app) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* command = app.add_subcommand("convert", "Make attention heads of a checkpoint recurrent (Mamba)");
  command
      ->add_option("CHECKPOINT", options->input, "Folder written by gca pretrain, whose upper layers attend")
      ->required();
  command->add_option("--output", options->output, "Folder to write")->required()->type_name("DIR");
  command
      ->add_option("--recur-fraction", options->recur_fraction,
                   "Part of the heads of the upper layers that become recurrent, those whose attention stays "
                   "nearest to the query")
      ->required()
      ->type_name("F");
  command
      ->add_option("--calibrate", options->calibrate,
                   "Folder written by gca tokenize, on whose texts attention is measured")
      ->required()
      ->type_name("DIR");
  add_size_option(*command, "--context", options->context,
                  "Tokens of a text that is measured (default: what the model was trained with)");
  add_size_option(*command, "--max-tokens", options->max_tokens,
                  with_default("Tokens that are measured in all", options->max_tokens));
  add_common_options(*command, options->common);
  command->callback([options] { run_convert(*options); });
}

}  // namespace gca::app
