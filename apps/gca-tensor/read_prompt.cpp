#include "apps/gca-tensor/read_prompt.h"

#include <sstream>
#include <string>

#include <fmt/format.h>

#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/text/sources/document_source.h"

namespace gca::app {
namespace {

/// A prompt is one text whatever it looks like, and every byte of it counts: one that was cut out of a longer
/// text may begin or end within a character.
std::string read_text(const std::string& path) {
  text::DocumentSource source({.inputs = {path}, .files = {{path}}},
                              {.format = "text", .invalid_utf8 = text::InvalidUtf8::keep});
  std::string text;
  source.next();
  constexpr size_t kPieceBytes = size_t{1} << 16;
  for (std::string_view piece = source.read(kPieceBytes); !piece.empty(); piece = source.read(kPieceBytes))
    text += piece;
  return text;
}

/// What the tokenizer cannot give back the model does not see: that is told.
std::vector<int32_t> encode(const std::string& text, const std::string& where,
                            const text::Tokenizer& tokenizer, int threads) {
  text::TextFaults faults;
  std::vector<int32_t> tokens = tokenizer.encode_parallel(text, threads, &faults);
  if (faults.unknown_tokens > 0)
    fmt::print(stderr, "{}: {} for text that the tokenizer does not know\n", where,
               counted(faults.unknown_tokens, "unknown token"));
  return tokens;
}

}  // namespace

std::vector<int32_t> read_prompt(const PromptOptions& options, const text::Tokenizer& tokenizer,
                                 int threads) {
  std::string text = options.text;
  std::string where = "--prompt";
  if (!options.file.empty()) {
    where = options.file == "-" ? "standard input" : "--prompt-file " + options.file;
    text = read_text(options.file);
  }
  if (text.empty()) fail_usage(where, "is empty", "give --prompt TEXT or --prompt-file FILE with some text");
  return encode(text, where, tokenizer, threads);
}

std::vector<NumberedPrompt> read_prompts(const std::string& path, const text::Tokenizer& tokenizer,
                                         int threads) {
  const std::string where = path == "-" ? "standard input" : path;
  constexpr const char* kRemedy = R"(give a JSON object a line: {"prompt": "..."})";
  std::vector<NumberedPrompt> prompts;
  std::istringstream lines(read_text(path));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string place = fmt::format("{}:{}", where, number);
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) fail_usage(place, "is not a JSON object", kRemedy);
    const auto prompt = json.find("prompt");
    if (prompt == json.end() || !prompt->is_string())
      fail_usage(place, "has no text under the key \"prompt\"", kRemedy);
    if (prompt->get_ref<const std::string&>().empty()) fail_usage(place, "has an empty prompt", kRemedy);
    prompts.push_back({json.value("id", nlohmann::json()),
                       encode(prompt->get_ref<const std::string&>(), place, tokenizer, threads)});
  }
  if (prompts.empty()) fail_usage("--prompts " + where, "holds no prompt", kRemedy);
  return prompts;
}

}  // namespace gca::app
