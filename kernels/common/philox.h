#pragma once
// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3"
// (SC 2011). A number is a pure function of (seed, stream, counter), so any thread, in any order, after any
// resume, draws the same bits. Compiles for host and device.

#include <array>
#include <cstdint>

#if defined(__CUDACC__)
#define GCA_HOST_DEVICE __host__ __device__
#else
#define GCA_HOST_DEVICE
#endif

namespace gca {

/// What a random number is for. Streams never share numbers.
enum class RandomStream : uint32_t {
  initialisation = 1,
  gumbel = 2,
  data_order = 3,
  sampling = 4,
  random_retriever = 5,
  task = 6,
  vocabulary_sample = 7,
  group_dropout = 8,
  retrieval_dropout = 9,
  cluster_seeds = 10,
  codebook_revival = 11,
};

struct PhiloxBlock {
  uint32_t word[4];
};

/// Four random words at `counter` (128 bits, low word first) under a 64-bit `key`.
GCA_HOST_DEVICE inline PhiloxBlock philox4x32(PhiloxBlock counter, uint64_t key) {
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53U} * counter.word[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57U} * counter.word[2];
    counter = {
        {static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(product1),
         static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return counter;
}

/// The block number `index` of stream `stream` at `step` under `seed`. Steps up to 2^32.
GCA_HOST_DEVICE inline PhiloxBlock philox_block(uint64_t seed, RandomStream stream, uint64_t step,
                                                uint64_t index) {
  return philox4x32({{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                      static_cast<uint32_t>(step), static_cast<uint32_t>(stream)}},
                    seed);
}

/// A word as a float strictly inside (0, 1): 24 bits and half a step. The half is lost to rounding in the
/// upper half of the range, and would make 1 of the greatest word.
GCA_HOST_DEVICE inline float open_unit_float(uint32_t word) {
  const float greatest = 1.0F - 1.0F / 16777216.0F;
  const float unit = (static_cast<float>(word >> 8) + 0.5F) * (1.0F / 16777216.0F);
  return unit < greatest ? unit : greatest;
}

/// Two words as a double strictly inside (0, 1): 52 bits and half a step.
GCA_HOST_DEVICE inline double open_unit_double(uint32_t high, uint32_t low) {
  const uint64_t bits = (uint64_t{high} << 32 | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * (1.0 / 4503599627370496.0);
}

/// The first two words of a block as a double strictly inside (0, 1).
GCA_HOST_DEVICE inline double open_unit_double(const PhiloxBlock& block) {
  return open_unit_double(block.word[0], block.word[1]);
}

}  // namespace gca
