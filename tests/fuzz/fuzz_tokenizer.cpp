// A tokenizer from anywhere (tokenize --tokenizer): a SentencePiece model, or a tokenizer.json.

#include "lib/text/tokenizer.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  read_or_refuse([&] {
    const gca::text::Tokenizer tokenizer =
        gca::text::Tokenizer::from_serialized(std::string(text_of(data, size)), "input");
    const std::string text = "On day 7 the keeper\nwalked  to the na\xC3\xAFve \xFF harbour\xE2\x96\x81.";
    const std::vector<int32_t> ids = tokenizer.encode(text);
    const std::string again = tokenizer.decode(ids);
    if (tokenizer.is_lossless() && again != text) abort();
    // A text that is cut where it is safe has the same tokens.
    for (const size_t limit : {size_t{10}, size_t{20}, text.size() - 1}) {
      const size_t cut = tokenizer.safe_cut(text, limit);
      if (cut == text.size()) continue;
      std::vector<int32_t> parts = tokenizer.encode(text.substr(0, cut));
      const std::vector<int32_t> rest = tokenizer.encode(text.substr(cut), nullptr, /*goes_on=*/true);
      parts.insert(parts.end(), rest.begin(), rest.end());
      if (parts != ids) abort();
    }
    tokenizer.piece_bytes_table();
  });
  return 0;
}
