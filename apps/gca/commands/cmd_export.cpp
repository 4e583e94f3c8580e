// gca export: its flags.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/import_options.h"
#include "apps/gca/tensor_stages.h"

namespace gca::app {

void add_export_command(CLI::App& app) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command =
      app.add_subcommand("export", "Write a checkpoint with full attention for Hugging Face programs");
  command->add_option("CHECKPOINT", options->input, "Folder written by gca pretrain or gca import")
      ->required();
  command->add_option("--output", options->output, "Folder to write")->required()->type_name("DIR");
  command
      ->add_option("--dtype", options->dtype,
                   with_default("Type of the weights that are written: fp32 or bf16", options->dtype))
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->type_name("NAME");
  add_common_options(*command, options->common);
  command->callback([options] { run_export(*options); });
}

}  // namespace gca::app
