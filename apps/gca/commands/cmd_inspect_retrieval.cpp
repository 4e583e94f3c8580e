// gca inspect-retrieval: its flags.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/inspect_retrieval_options.h"
#include "apps/gca/tensor_stages.h"

namespace gca::app {

void add_inspect_retrieval_command(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect-retrieval", "Show what each chunk of a text retrieved");
  add_checkpoint_options(*command, options->checkpoint);
  add_prompt_options(*command, options->prompt);
  add_size_option(*command, "--chunk", options->chunk, "Show only this chunk; the first is 0");
  command
      ->add_option(
          "--load-memory", options->load_memory,
          "Retrieve from this library built by gca memory as well, and name the document of each chunk")
      ->type_name("DIR");
  command
      ->add_option(
          "--html", options->html_path,
          "Write a self-contained page for a browser: which chunk read which, the passages, and what "
          "reading gained")
      ->type_name("FILE");
  command->add_flag("--ascii", options->ascii,
                    "Draw which chunk read which in the terminal, instead of the table");
  add_common_options(*command, options->common);
  command->callback([options] { run_inspect(*options); });
}

}  // namespace gca::app
