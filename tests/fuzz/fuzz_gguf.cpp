// A GGUF file from anywhere (import): its metadata, its tensors and its tokenizer.

#include "lib/core/files/gguf_file.h"
#include "lib/text/byte_level_bpe/gguf_tokenizer.h"
#include "lib/text/tokenizer.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = scratch_folder() + "/file";
  put(path, text_of(data, size));
  read_or_refuse([&] {
    const gca::GgufFile file(path);
    for (const auto& [name, tensor] : file.tensors()) {
      std::vector<float> row(static_cast<size_t>(tensor.row_length()));
      gca::decode_gguf_rows(tensor, tensor.row_count() - 1, row);
    }
    gca::text::Tokenizer::from_serialized(gca::text::tokenizer_json_of(file), path).encode("On day 7");
  });
  return 0;
}
