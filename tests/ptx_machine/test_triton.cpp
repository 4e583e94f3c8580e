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
constexpr double kScale = 0.25;

const std::string kNote = "// dynamic shared memory, bytes: ";

/// For "sm80" (mma.sync) or "sm90" (wgmma).
std::string ptx_text(const std::string& architecture) {
  std::ifstream file(GCA_TRITON_PTX "_" + architecture + ".ptx");
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

/// The kernel in a text that ptx_text() gave, and what it needs.
struct Kernel {
  explicit Kernel(const std::string& text)
      : program(translate(std::make_shared<Module>(parse(text)), "attend")),
        shared_bytes(std::atoll(text.c_str() + kNote.size())) {}

  /// out (rows, kHead), rows a multiple of 64.
  Outcome run_it(const Program& variant, const std::vector<uint16_t>& q, const std::vector<uint16_t>& k,
                 const std::vector<uint16_t>& v, std::vector<uint16_t>& out,
                 const RunOptions& options = {}) const {
    GlobalMemory memory;
    const auto* q_device = memory.add("q", std::span<const uint16_t>(q), Access::read_only);
    const auto* k_device = memory.add("k", std::span<const uint16_t>(k), Access::read_only);
    const auto* v_device = memory.add("v", std::span<const uint16_t>(v), Access::read_only);
    auto* out_device = memory.add("out", std::span<uint16_t>(out), Access::write_first);
    const uint64_t scratch = 0;
    const auto keys = static_cast<int32_t>(k.size() / kHead);
    return run(variant,
               {{static_cast<uint32_t>(out.size() / kHead / 64), 1, 1},
                {128, 1, 1},
                shared_bytes,
                arguments(q_device, k_device, v_device, out_device, keys,
                          static_cast<float>(kScale * 1.4426950408889634), scratch, scratch)},
               memory, options);
  }

  /// Synchronisations that nobody misses.
  std::string unmissed() const {
    const std::vector<uint16_t> q = some_numbers(64 * kHead, 1), k = some_numbers(256 * kHead, 2);
    std::vector<uint16_t> out(q.size());
    std::string result;
    for (const size_t sync : program.syncs()) {
      if (run_it(program.without(sync), q, k, k, out).reports.empty())
        result += program.describe(program.code[sync]) + "\n";
    }
    return result;
  }

  Program program;
  int64_t shared_bytes;
};

/// Triton takes cp.async for a write that wgmma sees by itself. The PTX manual does not: "an async proxy
/// fence must be used to establish an ordering between prior writes to shared memory matrices and subsequent accesses".
std::string with_proxy_fences(std::string text) {
  const std::string wait = "cp.async.wait_group \t0;";
  for (size_t at = 0; (at = text.find(wait, at)) != std::string::npos;) {
    at += wait.size();
    text.insert(at, " fence.proxy.async.shared::cta;");
  }
  return text;
}

void check_numbers(const Kernel& kernel, bool with_reports) {
  for (const size_t keys : {64, 150, 256}) {
    for (const bool adversary : {false, true}) {
      CAPTURE(keys);
      const std::vector<uint16_t> q = some_numbers(kRows * kHead, 1);
      // What lies behind the last key must not be read.
      const std::vector<uint16_t> k = some_numbers(keys * kHead, 2), v = some_numbers(keys * kHead, 3);
      std::vector<uint16_t> out(q.size(), 0x7FC0);
      RunOptions options;
      options.adversary = adversary;
      const Outcome outcome = kernel.run_it(kernel.program, q, k, v, out, options);
      if (!with_reports) CHECK(outcome.reports_text() == "");
      for (const Report& report : outcome.reports) {
        CHECK(report.fault == Fault::missing_fence);
        CHECK(report.place.find("wgmma") != std::string::npos);
      }
      CHECK(outcome.counters.tensor_macs + outcome.counters.warpgroup_macs >= 2 * kRows * kHead * keys);
      const std::vector<double> exact = attention(q, k, v, kScale);
      double worst = 0;
      for (size_t i = 0; i < out.size(); ++i)
        worst = std::max(worst, std::fabs(bf16_to_float(out[i]) - exact[i]));
      CHECK(worst < 4e-3);  // values below 1: probabilities and result are rounded to bfloat16
    }
  }
}

}  // namespace

TEST_CASE("an attention kernel that Triton compiled runs without a report and is right") {
  for (const std::string architecture : {"sm80", "sm90"}) {
    CAPTURE(architecture);
    REQUIRE(ptx_text(architecture).starts_with(kNote));
    check_numbers(Kernel(with_proxy_fences(ptx_text(architecture))), false);
  }
}

TEST_CASE(
    "the kernel that Triton compiled for wgmma is right as it is, but lacks fences of the async proxy") {
  const Kernel kernel(ptx_text("sm90"));
  check_numbers(kernel, true);
  const std::vector<uint16_t> q = some_numbers(64 * kHead, 1), k = some_numbers(256 * kHead, 2);
  std::vector<uint16_t> out(q.size());
  CHECK(kernel.run_it(kernel.program, q, k, k, out).has(Fault::missing_fence));
}

TEST_CASE("each synchronisation of the kernel that Triton compiled is missed, or said to be redundant") {
  // A copy of K is committed with that of V behind it; after the loop, whose last barrier stands behind all
  // of its reads, nothing is in flight.
  CHECK(Kernel(ptx_text("sm80")).unmissed() ==
        "triton_attention.py:27 (cp.async.commit_group, PTX line 169)\n"
        "triton_attention.py:27 (cp.async.commit_group, PTX line 975)\n"
        "triton_attention.py:24 (cp.async.wait_group, PTX line 1042)\n"
        "triton_attention.py:24 (bar.sync, PTX line 1043)\n");
  // Here what has been copied when the loop ends serves no product any more, and Q's own fence is followed by
  // that of the copies.
  CHECK(Kernel(with_proxy_fences(ptx_text("sm90"))).unmissed() ==
        "triton_attention.py:27 (cp.async.commit_group, PTX line 169)\n"
        "triton_attention.py:29 (fence.proxy.async.shared::cta, PTX line 195)\n"
        "triton_attention.py:27 (cp.async.commit_group, PTX line 754)\n"
        "triton_attention.py:24 (fence.proxy.async.shared::cta, PTX line 790)\n");
}
