// A kernel of our own writing as Triton compiles it: an independent code generator's idea of PTX, of its
// layouts and of its pipelines.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

#include "tests/ptx_machine/machine.h"
#include "tests/ptx_machine/number_formats.h"

using namespace ptx;

namespace {

constexpr size_t kRows = 128, kHead = 64;

std::string ptx_text() {
  std::ifstream file(GCA_TRITON_PTX);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Numbers between -1 and 1 that bfloat16 holds.
std::vector<uint16_t> some_numbers(size_t size, uint32_t state) {
  std::vector<uint16_t> result(size);
  for (uint16_t& x : result) {
    state = state * 1664525U + 1013904223U;
    x = float_to_bf16(static_cast<float>(state >> 8) * 0x1p-23F - 1);
  }
  return result;
}

/// Row-wise softmax(q k^T scale) v in double.
std::vector<double> attention(const std::vector<uint16_t>& q, const std::vector<uint16_t>& k,
                              const std::vector<uint16_t>& v, double scale) {
  const size_t keys = k.size() / kHead;
  std::vector<double> out(q.size(), 0.0);
  for (size_t row = 0; row < kRows; ++row) {
    std::vector<double> p(keys);
    double largest = -INFINITY, sum = 0;
    for (size_t key = 0; key < keys; ++key) {
      for (size_t e = 0; e < kHead; ++e)
        p[key] += double{bf16_to_float(q[row * kHead + e])} * bf16_to_float(k[key * kHead + e]) * scale;
      largest = std::max(largest, p[key]);
    }
    for (double& x : p) sum += x = std::exp(x - largest);
    for (size_t key = 0; key < keys; ++key)
      for (size_t e = 0; e < kHead; ++e)
        out[row * kHead + e] += p[key] / sum * bf16_to_float(v[key * kHead + e]);
  }
  return out;
}

}  // namespace

TEST_CASE("an attention kernel that Triton compiled runs without a report and is right") {
  const std::string text = ptx_text();
  const std::string note = "// dynamic shared memory, bytes: ";
  REQUIRE(text.starts_with(note));
  const int64_t shared_bytes = std::atoll(text.c_str() + note.size());
  const auto module = std::make_shared<Module>(parse(text));
  const Program program = translate(module, "attend");
  for (const size_t keys : {64, 150, 256}) {
    for (const bool adversary : {false, true}) {
      CAPTURE(keys);
      const std::vector<uint16_t> q = some_numbers(kRows * kHead, 1);
      // What lies behind the last key must not be read.
      const std::vector<uint16_t> k = some_numbers(keys * kHead, 2), v = some_numbers(keys * kHead, 3);
      std::vector<uint16_t> out(q.size(), 0x7FC0);
      GlobalMemory memory;
      const auto* q_device = memory.add("q", std::span<const uint16_t>(q), Access::read_only);
      const auto* k_device = memory.add("k", std::span<const uint16_t>(k), Access::read_only);
      const auto* v_device = memory.add("v", std::span<const uint16_t>(v), Access::read_only);
      auto* out_device = memory.add("out", std::span<uint16_t>(out), Access::write_first);
      const uint64_t scratch = 0;
      const double scale = 0.25;
      RunOptions options;
      options.adversary = adversary;
      const Outcome outcome =
          run(program,
              {{kRows / 64, 1, 1},
               {128, 1, 1},
               shared_bytes,
               arguments(q_device, k_device, v_device, out_device, static_cast<int32_t>(keys),
                         static_cast<float>(scale * 1.4426950408889634), scratch, scratch)},
              memory, options);
      CHECK(outcome.reports_text() == "");
      CHECK(outcome.counters.tensor_macs >= 2 * kRows * kHead * keys);
      const std::vector<double> exact = attention(q, k, v, scale);
      double worst = 0;
      for (size_t i = 0; i < out.size(); ++i)
        worst = std::max(worst, std::fabs(bf16_to_float(out[i]) - exact[i]));
      CHECK(worst < 4e-3);  // values below 1: probabilities and result are rounded to bfloat16
    }
  }
}

TEST_CASE("each synchronisation of the kernel that Triton compiled is missed, or said to be redundant") {
  const auto module = std::make_shared<Module>(parse(ptx_text()));
  const Program program = translate(module, "attend");
  const int64_t shared_bytes = std::atoll(ptx_text().c_str() + 33);
  std::string unmissed;
  for (const size_t sync : program.syncs()) {
    const std::vector<uint16_t> q = some_numbers(64 * kHead, 1), k = some_numbers(256 * kHead, 2);
    std::vector<uint16_t> out(q.size());
    GlobalMemory memory;
    const auto* q_device = memory.add("q", std::span<const uint16_t>(q), Access::read_only);
    const auto* k_device = memory.add("k", std::span<const uint16_t>(k), Access::read_only);
    auto* out_device = memory.add("out", std::span<uint16_t>(out), Access::write_first);
    const uint64_t scratch = 0;
    const Outcome outcome =
        run(program.without(sync),
            {{1, 1, 1},
             {128, 1, 1},
             shared_bytes,
             arguments(q_device, k_device, k_device, out_device, int32_t{256}, 0.25F, scratch, scratch)},
            memory);
    if (outcome.reports.empty()) unmissed += program.describe(program.code[sync]) + "\n";
  }
  // A copy of K is committed with that of V behind it; after the loop, whose last barrier stands behind all
  // of its reads, nothing is in flight.
  CHECK(unmissed ==
        "triton_attention.py:27 (cp.async.commit_group, PTX line 169)\n"
        "triton_attention.py:27 (cp.async.commit_group, PTX line 975)\n"
        "triton_attention.py:24 (cp.async.wait_group, PTX line 1042)\n"
        "triton_attention.py:24 (bar.sync, PTX line 1043)\n");
}
