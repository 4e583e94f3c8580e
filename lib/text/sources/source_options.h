#pragma once
// How documents are read, and what was read.

#include <cstdint>
#include <functional>
#include <string>

namespace gca::text {

/// What is done with bytes that are not UTF-8.
enum class InvalidUtf8 {
  error,    ///< the file is refused, with the line
  replace,  ///< U+FFFD for each maximal subpart of a sequence (Unicode 15, section 3.9), as other programs do
  keep,     ///< in plain text they stay as they are; in JSON they are an error
};

struct SourceOptions {
  std::string format = "auto";    ///< a DocumentFormat's name; auto: by the file's name, else by its content
  std::string text_key = "text";  ///< the key of a JSON line that holds the text
  bool skip_bad = false;          ///< broken lines are counted and left out
  InvalidUtf8 invalid_utf8 = InvalidUtf8::error;
  std::function<void()> poll = [] {};  ///< called before each read of a file; may throw to stop
};

/// What was read of one input.
struct SourceCounts {
  std::string input;  ///< as given on the command line
  int64_t files = 0;
  int64_t documents = 0;
  int64_t bytes = 0;               ///< of text, as handed on
  int64_t skipped_lines = 0;       ///< broken lines of JSON
  int64_t replaced_sequences = 0;  ///< of invalid UTF-8, by U+FFFD
  std::string first_skipped_line;  ///< where the first of them stands and what is wrong with it
};

}  // namespace gca::text
