#include "kernels/common/instruction_set.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace gca::kernels {
namespace {

const InstructionSet* find(const std::string& name) {
  for (const InstructionSet& set : runnable_instruction_sets())
    if (set.name == name) return &set;
  return nullptr;
}

TEST_CASE("instruction sets: the best runs unless another is chosen, and an unknown name is refused") {
  const std::string best = runnable_instruction_sets().back().name;
  CHECK(instruction_set().name == best);
  use_instruction_set("baseline");
  CHECK(std::string(instruction_set().name) == "baseline");
  CHECK(&tile_kernels() == instruction_set().tile_kernels);
  CHECK_THROWS_WITH_AS(use_instruction_set("mmx"), doctest::Contains(best.c_str()), std::invalid_argument);
  CHECK(std::string(instruction_set().name) == "baseline");
  use_instruction_set(best);
}

TEST_CASE("instruction sets: emulated tile registers give the bits of the processor's") {
  const InstructionSet *native = find("amx"), *emulated = find("amx-emulated");
  REQUIRE(emulated != nullptr);
  if (native == nullptr) {
    MESSAGE("this processor has no tile registers: nothing to compare with");
    return;
  }
  std::mt19937 engine(3);
  std::normal_distribution<float> normal;
  // Exponents far apart, zeros and subnormal numbers among them: each rounding step shows.
  const auto random_bits = [&](size_t count) {
    std::vector<uint16_t> bits(count);
    for (uint16_t& one : bits) {
      const float value = normal(engine) * std::ldexp(1.0F, static_cast<int>(normal(engine) * 20));
      uint32_t wide;
      std::memcpy(&wide, &value, sizeof wide);
      one = static_cast<uint16_t>(wide >> 16);
      if (engine() % 50 == 0) one = static_cast<uint16_t>(engine() % 0x80);
    }
    return bits;
  };
  int64_t compared = 0, different = 0;
  for (const int64_t rows : {1, 15, 16, 17, 31, 32, 33, 63, 80}) {
    for (const int64_t columns : {16, 32, 48, 64}) {
      for (const int64_t depth : {1, 2, 31, 32, 33, 64, 100}) {
        for (const bool add : {false, true}) {
          const int64_t left_stride = 104;
          const auto left = random_bits(static_cast<size_t>(rows * left_stride));
          const auto right = random_bits(static_cast<size_t>(paired_depth(depth) * columns));
          const ProductSegment segment{left.data(), left_stride, right.data(), columns, depth};
          std::vector<float> sums[2];
          for (std::vector<float>& one : sums) one.assign(static_cast<size_t>(rows * columns), 0.375F);
          const ProductTarget first{.sums = sums[0].data(), .stride = columns, .add = add};
          const ProductTarget second{.sums = sums[1].data(), .stride = columns, .add = add};
          native->bf16_tile_kernels->product(rows, columns, {&segment, 1}, first);
          emulated->bf16_tile_kernels->product(rows, columns, {&segment, 1}, second);
          ++compared;
          different += std::memcmp(sums[0].data(), sums[1].data(), sums[0].size() * sizeof(float)) != 0;
        }
      }
    }
  }
  CHECK(compared == 504);
  CHECK(different == 0);
}

#if defined(__SSE2__)
constexpr bool kFlushes = true;
#else
constexpr bool kFlushes = false;
#endif

float half_of_subnormal() {
  volatile float subnormal = 1e-39F;
  return subnormal * 0.5F;
}

TEST_CASE("instruction sets: a scope of products changes no result and ends with the processor as it was") {
  for (const InstructionSet& set : runnable_instruction_sets()) {
    CAPTURE(std::string(set.name));
    const Bf16TileKernels& kernels = *set.bf16_tile_kernels;
    const std::vector<uint16_t> left(size_t{40} * 64, 0x3FC0), right(size_t{64} * 32, 0x4010);
    const ProductSegment segment{left.data(), 64, right.data(), 32, 64};
    std::vector<float> alone(size_t{40} * 32), in_scope(alone.size());
    kernels.product(40, 32, {&segment, 1}, {.sums = alone.data(), .stride = 32});
    {
      const ProductScope scope(kernels);
      for (int run = 0; run < 2; ++run)
        kernels.product(40, 32, {&segment, 1}, {.sums = in_scope.data(), .stride = 32});
      CHECK(half_of_subnormal() == (kFlushes ? 0.0F : 5e-40F));
    }
    CHECK(alone == in_scope);
    CHECK(alone[0] == 64 * 1.5F * 2.25F);
    CHECK(half_of_subnormal() == 5e-40F);
  }
}

}  // namespace
}  // namespace gca::kernels
