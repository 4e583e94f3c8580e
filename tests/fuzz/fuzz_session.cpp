// index.json of a kept session, with its seal made right.

#include "lib/generate/session_index.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = text_of(data, size);
  const std::string path = scratch_folder() + "/index.json";
  nlohmann::json index = parsed(text);
  if (index.is_object()) index["format"] = gca::generate::kSessionFormat;
  put_sealed(path, index, text);
  read_or_refuse([&] {
    const gca::generate::SessionIndex session = gca::generate::read_session_index(path);
    if (session.position < 0 || session.drawn_tokens < 0) abort();
  });
  return 0;
}
