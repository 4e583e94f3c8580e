// What landmark attention and the memory layers of the Focused Transformer say that they read, held to what they read:
// values that are one-hot by block or position make the output the very parts of the softmax.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include "lib/model/backbones/fot/memory_attention.h"
#include "lib/model/backbones/landmark/landmark_reading.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kHeads = 2;
constexpr int64_t kWidth = 48;  // dh, at least the number of blocks or positions

/// Values (1, n, H, dh): e_j at position i, j = i / of.
at::Tensor one_hot_values(int64_t n, int64_t of) {
  const at::Tensor places = at::arange(n, at::kLong).div_(of, "floor");
  return at::one_hot(places, kWidth).to(at::kFloat).view({1, n, 1, kWidth}).expand({1, n, kHeads, kWidth});
}

/// The parts that are told, (1, m, H, dh), at the places that they are of.
at::Tensor parts_of(const at::Tensor& idx, const at::Tensor& shares) {
  at::Tensor parts = at::zeros({idx.size(0), idx.size(1), idx.size(2), kWidth});
  return parts.scatter_add_(3, idx.clamp_min(0).to(at::kLong), shares.to(at::kFloat));
}

}  // namespace

TEST_CASE("landmark attention tells the part of the softmax that each chosen block has") {
  const at::NoGradGuard no_grad;
  constexpr int64_t kBlock = 4;
  constexpr int64_t n = 41;
  const at::Tensor q = at::randn({1, n, kHeads, kWidth});
  const at::Tensor k = at::randn({1, n, kHeads, kWidth});
  for (const double theta : {0.0, 1e4}) {
    const model::LandmarkReadingSettings settings{
        .block_size = kBlock, .top_k = 3, .local_size = 8, .theta = theta, .scale = 0.3};
    const at::Tensor keys = model::keys_in_blocks(k, 0, settings);
    const model::LandmarkReading reading =
        model::landmark_reading(q, keys, one_hot_values(n, kBlock), settings);
    const at::Tensor told = parts_of(reading.blocks, reading.shares);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t earlier = i / 8 * 2;  // blocks before the segment
      CAPTURE(i);
      CHECK(reading.blocks.select(1, i).ge(0).sum().item<int64_t>() ==
            kHeads * std::min<int64_t>(3, earlier));
      if (earlier == 0) continue;
      CHECK(largest_difference(told.select(1, i).narrow(2, 0, earlier),
                               reading.out.select(1, i).narrow(2, 0, earlier)) <= 1e-5);
    }
    CHECK(reading.shares.max().item<double>() > 0.2);

    model::LandmarkReadingSettings nothing = settings;
    nothing.top_k = 0;
    const at::Tensor alone = model::landmark_reading(q, keys, one_hot_values(n, kBlock), nothing).out;
    CHECK(alone.select(1, n - 1).narrow(2, 0, n / 8 * 2).abs().max().item<double>() == 0.0);
    CHECK(alone.select(1, n - 1).sum().item<double>() == doctest::Approx(kHeads));
  }
}

TEST_CASE("memory layers tell the part of the softmax that each position read of the memory has") {
  const at::NoGradGuard no_grad;
  constexpr int64_t n = 37;
  constexpr int64_t kLocal = 5;
  const at::Tensor q = at::randn({1, n, kHeads, kWidth});
  const at::Tensor k = at::randn({1, n, kHeads, kWidth});
  const at::Tensor v = one_hot_values(n, 1);
  for (const int64_t top_k : {0, 4, 12}) {
    CAPTURE(top_k);
    const model::MemoryRange range{.local_context = kLocal, .top_k = top_k};
    const model::MemoryReading reading = model::memory_attention(q, k, v, range, 0.3);
    const model::MemoryChoice choice = model::memory_choice(q, k, reading.lse, range, 0.3);
    const at::Tensor told = parts_of(choice.positions, choice.shares);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t memory = i / kLocal * kLocal;
      const int64_t read = std::min(memory, top_k > 0 ? top_k : model::kMostTold);
      CAPTURE(i);
      CHECK(choice.positions.select(1, i).ge(0).sum().item<int64_t>() == kHeads * read);
      if (memory == 0) continue;
      const at::Tensor expected = reading.out.select(1, i).narrow(2, 0, memory);
      if (top_k > 0 || memory <= model::kMostTold)
        CHECK(largest_difference(told.select(1, i).narrow(2, 0, memory), expected) <= 1e-5);
      // Of more, those that are told are the largest.
      CHECK(told.select(1, i).sum().item<double>() <= expected.sum().item<double>() + 1e-5);
    }
  }
  const at::Tensor alone =
      model::memory_attention(q, k, v, {.local_context = kLocal, .reads_memory = false}, 0.3).out;
  for (int64_t i = 0; i < n; ++i) {
    const at::Tensor row = alone.select(1, i);
    CHECK(row.narrow(2, 0, i / kLocal * kLocal).abs().sum().item<double>() == 0.0);
    CHECK(row.sum().item<double>() == doctest::Approx(kHeads));
  }
}

TEST_CASE(
    "memory layers read the same with an index of the keys as without, and as one query after the other") {
  const at::NoGradGuard no_grad;
  constexpr int64_t n = 300;
  const at::Tensor v = at::randn({1, n, kHeads, kWidth});
  const at::Tensor q = at::randn({1, n, kHeads, kWidth});
  const at::Tensor k = at::randn({1, n, kHeads, kWidth});
  const model::MemoryRange range{.local_context = 70, .top_k = 9};
  const model::MemoryReading plain = model::memory_attention(q, k, v, range, 0.3);
  model::KeyIndex index;
  for (int64_t i = 0, step = 1; i < n; i += step) {
    step = std::min(i % 3 + 1, n - i);
    const at::Tensor keys = k.narrow(1, 0, i + step);
    const at::Tensor values = v.narrow(1, 0, i + step);
    const at::Tensor queries = q.narrow(1, i, step);
    index.follow(keys);
    const model::MemoryReading reading = model::memory_attention(queries, keys, values, range, 0.3, index);
    const model::MemoryReading without = model::memory_attention(queries, keys, values, range, 0.3);
    CHECK(at::equal(reading.out, without.out));
    CHECK(at::equal(reading.lse, without.lse));
    CHECK(largest_difference(reading.out, plain.out.narrow(1, i, step)) <= 1e-5);
    CHECK(largest_difference(reading.lse, plain.lse.narrow(2, i, step)) <= 1e-5);
  }
  CHECK(index.size_bytes() > 0);
}
