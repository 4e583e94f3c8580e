#include "lib/text/tokenizer_file.h"

#include <filesystem>
#include <system_error>

namespace gca::text {

std::string find_tokenizer_file(const std::string& folder) {
  std::error_code ignored;
  for (const char* name : kTokenizerFileNames)
    if (std::string path = folder + "/" + name; std::filesystem::exists(path, ignored)) return path;
  return folder + "/" + kTokenizerFileNames[0];
}

// A SentencePiece model begins with the tag of its first piece, "\n", which JSON takes for white space; the
// byte behind it is the length of that piece, and its own first byte a tag again.
bool is_tokenizer_json(std::string_view serialized) {
  const size_t first = serialized.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && serialized[first] == '{';
}

std::string tokenizer_file_name(std::string_view serialized) {
  return kTokenizerFileNames[is_tokenizer_json(serialized) ? 1 : 0];
}

}  // namespace gca::text
