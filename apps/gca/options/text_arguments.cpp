#include "apps/gca/options/text_arguments.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/parallel/rank_environment.h"

namespace gca::app {
namespace {

constexpr std::array<std::pair<const char*, text::InvalidUtf8>, 3> kInvalidUtf8Names = {
    {{"error", text::InvalidUtf8::error},
     {"replace", text::InvalidUtf8::replace},
     {"keep", text::InvalidUtf8::keep}}};

constexpr const char* kSourceFlags[] = {"--input-format", "--text-key", "--skip-bad", "--invalid-utf8"};

}  // namespace

void add_checkpoint_options(CLI::App& command, CheckpointOptions& options) {
  command.add_option("--checkpoint", options.folder, "Folder written by gca pretrain")
      ->required()
      ->type_name("DIR");
  add_tensor_options(command, options.tensor);
}

void add_prompt_options(CLI::App& command, PromptOptions& options) {
  CLI::Option* text = command.add_option("--prompt", options.text, "Text of the prompt")->type_name("TEXT");
  command
      .add_option("--prompt-file", options.file,
                  "File with the prompt, also compressed with gzip or zstd; - for standard input")
      ->type_name("FILE")
      ->excludes(text);
}

void add_source_options(CLI::App& command, text::SourceOptions& options) {
  const std::string group = "Input";
  std::vector<std::string> formats = {"auto"};
  for (const text::DocumentFormat& format : text::document_formats()) formats.emplace_back(format.name);
  command
      .add_option(
          "--input-format", options.format,
          "text: a file is one document; jsonl: a line is one, a JSON object (default: auto, by the file's "
          "name, else by its content); either may be compressed with gzip or zstd")
      ->check(CLI::IsMember(formats))
      ->type_name("NAME")
      ->group(group);
  command
      .add_option("--text-key", options.text_key,
                  "Key of the JSON objects that holds the text (default: " + options.text_key + ")")
      ->type_name("KEY")
      ->group(group);
  command
      .add_flag("--skip-bad", options.skip_bad,
                "Leave out and count the lines of JSON that are broken, instead of stopping at the first")
      ->group(group);
  command
      .add_option_function<std::string>(
          "--invalid-utf8",
          [&options](const std::string& name) {
            for (const auto& [known, value] : kInvalidUtf8Names)
              if (name == known) options.invalid_utf8 = value;
          },
          "Bytes that are not UTF-8: error; replace, by U+FFFD; keep, in plain text, as byte tokens "
          "(default: "
          "error)")
      ->check(CLI::IsMember({"error", "replace", "keep"}))
      ->type_name("NAME")
      ->group(group);
}

void refuse_source_options(const CLI::App& command, const std::string& where) {
  for (const char* flag : kSourceFlags)
    if (command.count(flag) > 0) fail_usage(flag, "has no meaning " + where, "leave it out");
}

nlohmann::ordered_json source_config(const text::SourceOptions& options) {
  const auto* invalid_utf8 =
      std::find_if(kInvalidUtf8Names.begin(), kInvalidUtf8Names.end(),
                   [&](const auto& name) { return name.second == options.invalid_utf8; });
  return {{"input_format", options.format},
          {"text_key", options.text_key},
          {"skip_bad", options.skip_bad},
          {"invalid_utf8", invalid_utf8->first}};
}

text::InputFiles list_texts(std::span<const std::string> inputs) {
  text::InputFiles files = text::list_input_files(inputs);
  if (parallel::rank_environment().size > 1)
    for (const text::InputFile& file : files.files)
      if (file.is_stream)
        fail_usage(file.path, "can be read only once, and each rank reads the texts",
                   "save it to a file, or start one process");
  return files;
}

std::string source_remarks(std::span<const text::SourceCounts> counts) {
  int64_t skipped = 0, replaced = 0;
  std::string first_skipped;
  for (const text::SourceCounts& source : counts) {
    skipped += source.skipped_lines;
    replaced += source.replaced_sequences;
    if (first_skipped.empty()) first_skipped = source.first_skipped_line;
  }
  std::string remarks;
  if (skipped > 0) remarks += counted(skipped, "broken line") + " skipped, the first " + first_skipped + "\n";
  if (replaced > 0) remarks += counted(replaced, "sequence") + " of invalid UTF-8 replaced by U+FFFD\n";
  return remarks;
}

}  // namespace gca::app
