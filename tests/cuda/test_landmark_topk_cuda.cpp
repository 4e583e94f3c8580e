// The choice of chunks on the PTX machine: scores, noise, exact top K.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "kernels/common/philox.h"
#include "kernels/landmark_topk/landmark_topk_cuda.h"
#include "tests/cuda/numbers.h"
#include "tests/cuda/on_machine.h"

using namespace gca;
using namespace gca::testing;

namespace {

struct Chosen {
  std::vector<int32_t> idx;
  std::string reports;
};

Chosen choose(const std::vector<float>& r, const std::vector<float>& noise, cuda::LandmarkTopkParams p) {
  OnMachine machine;
  Chosen chosen;
  chosen.idx.assign(static_cast<size_t>(p.batch) * static_cast<size_t>(p.rows) * static_cast<size_t>(p.slots),
                    -99);
  const int segments = cuda::topk_segments(p.chunks);
  std::vector<uint64_t> keys(chosen.idx.size() * static_cast<size_t>(segments));
  p.r = machine.in("r", r);
  if (!noise.empty()) p.noise = machine.in("noise", noise);
  p.keys = machine.out("keys", keys);
  p.idx = machine.out("idx", chosen.idx);
  machine.launch("landmark_topk",
                 "landmark_topk_kernelILi" + std::to_string(cuda::topk_candidates(p.chunks)) + "E",
                 cuda::landmark_topk_launch_shape(p), p);
  if (segments > 1)
    machine.launch("landmark_topk", "landmark_topk_join_kernel", cuda::landmark_topk_join_launch_shape(p), p,
                   segments);
  chosen.reports = machine.reports;
  return chosen;
}

/// A stable sort of all candidates.
std::vector<int32_t> chosen_by_sort(const std::vector<float>& r, const std::vector<float>& noise,
                                    const cuda::LandmarkTopkParams& p) {
  std::vector<int32_t> idx;
  for (int line = 0; line < p.batch * p.rows; ++line) {
    const int candidates = std::min(p.first_query + line % p.rows, p.chunks);
    std::vector<int32_t> order(static_cast<size_t>(candidates));
    std::iota(order.begin(), order.end(), 0);
    const auto score = [&](int32_t c) {
      const auto place = static_cast<size_t>(line) * static_cast<size_t>(p.chunks) + static_cast<size_t>(c);
      const float value = r[place] + (noise.empty() ? 0.0F : noise[place]);
      return value != value ? -std::numeric_limits<float>::infinity() : value;
    };
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return score(a) > score(b); });
    for (int slot = 0; slot < p.slots; ++slot)
      idx.push_back(slot < candidates ? order[static_cast<size_t>(slot)] : -1);
  }
  return idx;
}

cuda::LandmarkTopkParams params_of(int batch, int rows, int chunks, int slots, int first_query) {
  cuda::LandmarkTopkParams p;
  p.batch = batch;
  p.rows = rows;
  p.chunks = chunks;
  p.slots = slots;
  p.first_query = first_query;
  return p;
}

}  // namespace

TEST_CASE("top K is a stable sort's, with ties, infinities and NaN, causal") {
  for (const auto& p :
       {params_of(2, 9, 7, 3, 0), params_of(1, 3, 500, 8, 480), params_of(1, 3, 513, 32, 511),
        params_of(2, 1, 4096, 8, 4096), params_of(1, 2, 9000, 8, 8999), params_of(1, 1, 300000, 8, 300000)}) {
    CAPTURE(p.chunks);
    RandomNumbers random(4);
    std::vector<float> r(static_cast<size_t>(p.batch) * static_cast<size_t>(p.rows) *
                         static_cast<size_t>(p.chunks));
    for (float& x : r) {
      x = std::round(random.normal(30)) / 4;  // many ties
      if (random.below(50) == 0) x = random.below(2) == 0 ? kNan : -std::numeric_limits<float>::infinity();
      if (random.below(100) == 0) x = -0.0F;
    }
    std::vector<float> noise(r.size());
    for (float& x : noise) x = static_cast<float>(random.below(3));
    for (const auto& n : {std::vector<float>{}, noise}) {
      const Chosen chosen = choose(r, n, p);
      CHECK(chosen.reports == "");
      CHECK(chosen.idx == chosen_by_sort(r, n, p));
    }
  }
}

TEST_CASE("each barrier of the top K kernels, deleted, is reported") {
  for (const auto& p : {params_of(1, 2, 300, 8, 290), params_of(1, 1, 9000, 8, 9000)}) {
    RandomNumbers random(5);
    std::vector<float> r(static_cast<size_t>(p.rows * p.chunks));
    for (float& x : r) x = random.normal();
    CHECK(unmissed_syncs([&] { return choose(r, {}, p).reports; }) == "");
  }
}

TEST_CASE(
    "Gumbel noise: the bits of the CPU's counters, its logarithms within 2 ulp, drawn in the choice it is "
    "the same") {
  const cuda::GumbelParams at{
      .seed = 0x123456789ABCDEF, .step = 77, .group = 1, .batch_offset = 3, .first_query = 5};
  OnMachine machine;
  const int batch = 2, rows = 3, chunks = 530;
  std::vector<float> noise(static_cast<size_t>(batch * rows * chunks));
  cuda::GumbelNoiseParams p{at, machine.out("noise", noise), batch, rows, chunks};
  machine.launch("landmark_topk", "gumbel_noise_kernel", cuda::gumbel_noise_launch_shape(batch, rows, chunks),
                 p);
  CHECK(machine.reports == "");
  for (size_t i = 0; i < noise.size(); ++i) {
    const size_t c = i % chunks, row = i / chunks % rows, b = i / chunks / rows;
    const uint64_t base = uint64_t{1} << 60 | uint64_t{3 + b} << 44 | uint64_t{5 + row} << 22;
    const PhiloxBlock block = philox_block(at.seed, RandomStream::gumbel, at.step, base | c / 4);
    const double expected = -std::log(-std::log(static_cast<double>(open_unit_float(block.word[c % 4]))));
    // The inner logarithm near 1 loses what the outer then shows.
    CHECK(std::fabs(noise[i] - expected) <= 4e-7 * std::max(1.0, std::fabs(expected)));
  }
  std::vector<float> r(noise.size());
  RandomNumbers random(6);
  for (float& x : r) x = random.normal();
  cuda::LandmarkTopkParams drawn = params_of(batch, rows, chunks, 8, 520);
  const std::vector<int32_t> with_tensor = choose(r, noise, drawn).idx;
  drawn.draws_noise = 1;
  drawn.at = at;
  CHECK(choose(r, {}, drawn).idx == with_tensor);
}

TEST_CASE("landmark scores of one query") {
  const int batch = 2, chunks = 37, d = 264;
  RandomNumbers random(7);
  OnMachine machine;
  std::vector<cuda::Bf16> q(static_cast<size_t>(batch * d)),
      landmarks(static_cast<size_t>(batch * chunks * d));
  for (auto& x : q) x = to_bf16(random.normal());
  for (auto& x : landmarks) x = to_bf16(random.normal());
  std::vector<float> r(static_cast<size_t>(batch * chunks), kNan);
  cuda::LandmarkScoresParams p{machine.in("q", q),
                               machine.in("landmarks", landmarks),
                               machine.out("r", r),
                               chunks * d,
                               d,
                               batch,
                               chunks,
                               d,
                               0.25F};
  machine.launch("landmark_topk", "landmark_scores_kernel", cuda::landmark_scores_launch_shape(batch, chunks),
                 p);
  CHECK(machine.reports == "");
  for (size_t i = 0; i < r.size(); ++i) {
    double sum = 0;
    for (size_t e = 0; e < d; ++e)
      sum += double{to_float(q[i / chunks * d + e])} * to_float(landmarks[i * d + e]);
    CHECK(std::fabs(r[i] - 0.25 * sum) < 1e-4);
  }
}
