#include "apps/gca-tensor/read_prompt.h"

#include <iostream>
#include <iterator>
#include <string>

#include "lib/core/atomic_file.h"
#include "lib/core/error.h"

namespace gca {

std::vector<int32_t> read_prompt(const PromptOptions& options, const Tokenizer& tokenizer, int threads) {
  std::string text = options.text;
  std::string where = "--prompt";
  if (options.file == "-") {
    where = "standard input";
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else if (!options.file.empty()) {
    where = "--prompt-file " + options.file;
    text = read_file(options.file);
  }
  if (text.empty()) fail_usage(where, "is empty", "give --prompt TEXT or --prompt-file FILE with some text");
  return tokenizer.encode_parallel(text, threads);
}

}  // namespace gca
