// Index files with a seal, as the bytes come and with the seal made right.

#include "lib/data/sealed_json.h"
#include "lib/data/token_shard.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = text_of(data, size);
  const std::string path = scratch_folder() + "/index.json";
  put(path, text);
  read_or_refuse([&] { gca::data::read_sealed_json(path, gca::data::kTokenFormat, "gca tokenize"); });
  gca::data::folder_format(scratch_folder());
  put_sealed(path, parsed(text), text);
  read_or_refuse([&] { gca::data::read_sealed_json(path, gca::data::kTokenFormat, "gca tokenize"); });
  return 0;
}
