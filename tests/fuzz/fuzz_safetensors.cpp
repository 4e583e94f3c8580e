// model.safetensors, optimizer.safetensors, session.safetensors.

#include "lib/core/files/safetensors_file.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = scratch_folder() + "/file";
  put(path, text_of(data, size));
  read_or_refuse([&] {
    const gca::SafetensorsFile file(path);
    unsigned sum = 0;
    for (const auto& [name, entry] : file.entries())
      for (size_t i = 0; i < entry.size_bytes; ++i) sum += std::to_integer<unsigned>(entry.data[i]);
    if (sum == 1) file.at("a name that is not there");
    file.verify();
  });
  return 0;
}
