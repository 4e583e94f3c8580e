#include "apps/gca-tensor/read_prompt.h"

#include <string>

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
  return tokenizer.encode_parallel(text, threads);
}

}  // namespace gca::app
