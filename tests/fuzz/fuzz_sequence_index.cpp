// A folder of sequences: index.json, ----, train.bin, ----, valid.bin, over tokens that are sound. Seal,
// checksums and fingerprints are made right.

#include "lib/core/checksums/sha256.h"
#include "lib/data/sequence_index.h"
#include "lib/data/sequence_loader.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/fuzz/sound_tokens.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = parts_of(text_of(data, size), 3);
  const std::string folder = scratch_folder() + "/sequences";
  std::filesystem::create_directory(folder);
  put(folder + "/train.bin", parts[1]);
  put(folder + "/valid.bin", parts[2]);
  nlohmann::json index = parsed(parts[0]);
  if (index.is_object()) {
    index["format"] = gca::data::kSequenceFormat;
    index["tokens_folder"] = "../tokens";
    index["tokens_fingerprint"] = sound_tokens().content_fingerprint();
    for (const auto& [name, part] : {std::pair{"train", parts[1]}, std::pair{"valid", parts[2]}})
      if (index.contains(name) && index[name].is_object()) {
        index[name]["file"] = std::string(name) + ".bin";
        index[name]["sha256"] = gca::sha256_hex(part);
      }
  }
  put_sealed(folder + "/index.json", index, parts[0]);
  read_or_refuse([&] {
    const gca::data::SequenceIndex sequences = gca::data::SequenceIndex::open(folder);
    for (const auto& entries : {sequences.train(), sequences.valid()})
      for (const gca::data::SequenceEntry& entry : entries) {
        int64_t next = 0;
        read_or_refuse([&] { sequences.read(entry, &next); });
      }
    const gca::data::SequenceLoader loader(sequences, {sequences.train().begin(), sequences.train().end()},
                                           {sequences.settings().chunk_size, 300}, 0, true, {});
    loader.batch(0, 2);
  });
  return 0;
}
