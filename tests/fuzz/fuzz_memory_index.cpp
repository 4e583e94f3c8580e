// index.json of a library of chunk memory, with its seal made right.

#include "lib/model/memory/memory_index.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = text_of(data, size);
  const std::string folder = scratch_folder();
  nlohmann::json index = parsed(text);
  if (index.is_object()) index["format"] = gca::model::kLibraryFormat;
  put_sealed(folder + "/index.json", index, text);
  put(gca::model::records_path(folder, 0), "0123456789");  // of the corpus: 2 chunks of 5 bytes
  put(gca::model::tensors_path(folder, 0), "");
  read_or_refuse([&] {
    const gca::model::MemoryIndex library = gca::model::read_memory_index(folder);
    for (const gca::model::MemoryDocument& document : library.documents)
      if (document.chunks > 0 &&
          library.document_of(document.first_chunk).first_chunk != document.first_chunk)
        abort();
    if (library.record_bytes() != 10) abort();
  });
  return 0;
}
