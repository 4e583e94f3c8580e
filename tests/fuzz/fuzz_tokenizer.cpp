// tokenizer.model: a SentencePiece model from anywhere (tokenize --tokenizer).

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
    tokenizer.safe_cut(text, 10);
    tokenizer.piece_bytes_table();
  });
  return 0;
}
