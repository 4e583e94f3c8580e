// Full attention over ranks that share a text, against golden files, which every scheme gave in float64, and against the
// kernel that has the whole text.

#include "lib/model/layers/ring_attention.h"

#include "tests/support/doctest.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "tests/golden_check/golden_file.h"
#include "tests/support/as_ranks.h"

using namespace gca;
using namespace gca::testing;
using parallel::RingScheme;

namespace {

/// Operands (B, L, heads, dh) of whole texts, with the gradient of the result.
struct Text {
  at::Tensor q, k, v, dout;
  at::Tensor slopes;

  Text to(at::ScalarType type) const {
    const at::ScalarType statistics = type == at::kDouble ? at::kDouble : at::kFloat;
    return {q.to(type), k.to(type), v.to(type), dout.to(type), slopes.to(statistics)};
  }
};

struct Result {
  at::Tensor out, dq, dk, dv;  // of whole texts
  std::vector<int64_t> bytes_forward, bytes_backward;
};

struct GoldenCase {
  Text text;
  Result wanted;
};

GoldenCase golden_case(const std::string& name) {
  const golden::GoldenFile golden =
      golden::load_golden_file(std::string(GCA_GOLDEN_DIR) + "/cache/" + name + ".safetensors");
  const auto of = [&](const char* tensor) { return golden.tensors.at(tensor).unsqueeze(0); };
  return {{of("q"), of("k"), of("v"), of("dout"), at::zeros({of("q").size(2)})},
          {of("out"), of("dq"), of("dk"), of("dv"), {}, {}}};
}

/// Two texts of values that are no multiples of each other; query heads in groups of two.
Text some_text(int64_t length) {
  const auto values = [&](int64_t heads, double phase) {
    return at::arange(2 * length * heads * 8, at::kDouble)
        .mul(0.7)
        .add(phase)
        .sin()
        .view({2, length, heads, 8})
        .mul(2);
  };
  return {values(4, 0.1), values(2, 0.2), values(2, 0.3), values(4, 0.4), at::zeros({4}, at::kDouble)};
}

double scale_of(const Text& text) {
  return 1.0 / std::sqrt(static_cast<double>(text.q.size(3)));
}

Result in_one_process(const Text& text) {
  const auto leaf = [](const at::Tensor& x) { return x.detach().clone().requires_grad_(); };
  const at::Tensor q = leaf(text.q), k = leaf(text.k), v = leaf(text.v);
  const at::Tensor out =
      kernels::sliding_window_attention(q, k, v, text.slopes, text.q.size(1), scale_of(text));
  out.backward(text.dout);
  return {out.detach(), q.grad(), k.grad(), v.grad(), {}, {}};
}

Result in_ranks(const Text& text, RingScheme scheme, int ranks) {
  const int64_t length = text.q.size(1);
  const auto size = static_cast<size_t>(ranks);
  std::vector<at::Tensor> places(size), outs(size), dqs(size), dks(size), dvs(size);
  Result result;
  result.bytes_forward.resize(size);
  result.bytes_backward.resize(size);
  const auto store = c10::make_intrusive<c10d::HashStore>();
  in_threads(ranks, [&](int rank) {
    const auto communicator = parallel::open_communicator(store, rank, ranks);
    const auto r = static_cast<size_t>(rank);
    std::vector<at::Tensor> ranges;
    for (const auto& range : parallel::positions_of(scheme, length, rank, ranks))
      ranges.push_back(at::arange(range.first, range.first + range.count, at::kLong));
    places[r] = at::cat(ranges);
    const auto own = [&](const at::Tensor& x) { return x.index_select(1, places[r]); };
    const at::Tensor q = own(text.q).requires_grad_();
    const at::Tensor k = own(text.k).requires_grad_();
    const at::Tensor v = own(text.v).requires_grad_();
    const at::Tensor out = model::ring_attention(q, k, v, text.slopes, scale_of(text), scheme, *communicator);
    result.bytes_forward[r] = communicator->bytes_sent();
    out.backward(own(text.dout));
    result.bytes_backward[r] = communicator->bytes_sent() - result.bytes_forward[r];
    outs[r] = out.detach();
    dqs[r] = q.grad();
    dks[r] = k.grad();
    dvs[r] = v.grad();
  });
  const at::Tensor order = at::cat(places).argsort();
  const auto whole = [&](const std::vector<at::Tensor>& parts) {
    return at::cat(parts, 1).index_select(1, order);
  };
  result.out = whole(outs);
  result.dq = whole(dqs);
  result.dk = whole(dks);
  result.dv = whole(dvs);
  return result;
}

/// Largest difference, of the largest value wanted.
double error_of(const at::Tensor& got, const at::Tensor& wanted) {
  const at::Tensor exact = wanted.to(at::kDouble);
  return (got.to(at::kDouble).sub(exact).abs().max() / exact.abs().max()).item<double>();
}

double worst_error(const Result& got, const Result& wanted) {
  return std::max({error_of(got.out, wanted.out), error_of(got.dq, wanted.dq), error_of(got.dk, wanted.dk),
                   error_of(got.dv, wanted.dv)});
}

/// How far float32 moves each value of the gradients, to first order, where one rounding of up to u = 2^-24 is all that
/// happens to the scores s, the logarithm of their sum, dP = dO V^T and delta = rowsum(dO out):
///
///   P = e^(s - lse)        changes by  P r           r <= u (|s| + sum_j P |s| + |lse|)
///   dS = P (dP - delta)    changes by  P (r |dP - delta| + u |dP| + u |delta|)
///   dq = dS K scale, dk = dS^T Q scale, dv = P^T dO   change by the sums of these
///
/// Where scores are in the hundreds, P is 0 or 1, dP - delta is the difference of two large equal numbers, and 1e-6 of the
/// largest value is out of reach: dP alone, rounded once in an otherwise exact run, moves dk by 3.6e-5.
/// As many key/value heads as heads.
Result rounding_bounds(const GoldenCase& golden) {
  const auto by_head = [](const at::Tensor& x) {
    return x.to(at::kDouble).transpose(1, 2);
  };  // (1, H, L, dh)
  const at::Tensor q = by_head(golden.text.q), k = by_head(golden.text.k), v = by_head(golden.text.v);
  const at::Tensor dout = by_head(golden.text.dout), out = by_head(golden.wanted.out);
  const double u = std::ldexp(1.0, -24), scale = scale_of(golden.text);
  const at::Tensor hidden = at::ones({q.size(2), q.size(2)}, at::kBool).triu(1);
  const at::Tensor s = at::matmul(q, k.transpose(2, 3))
                           .mul(scale)
                           .masked_fill(hidden, -std::numeric_limits<double>::infinity());
  const at::Tensor lse = s.logsumexp(-1, /*keepdim=*/true);
  const at::Tensor P = s.sub(lse).exp();
  const at::Tensor size = s.abs().masked_fill(hidden, 0);
  const at::Tensor r = size.add(P.mul(size).sum(-1, /*keepdim=*/true)).add(lse.abs()).mul(u);
  const at::Tensor dP = at::matmul(dout, v.transpose(2, 3));
  const at::Tensor delta = dout.mul(out).sum(-1, /*keepdim=*/true);
  const at::Tensor dS = r.mul(dP.sub(delta).abs()).add(dP.abs().add(delta.abs()).mul(u)).mul(P).mul(scale);
  const auto by_position = [](const at::Tensor& x) { return x.transpose(1, 2); };
  return {{},
          by_position(at::matmul(dS, k.abs())),
          by_position(at::matmul(dS.transpose(2, 3), q.abs())),
          by_position(at::matmul(P.mul(r).transpose(2, 3), dout.abs())),
          {},
          {}};
}

/// Largest difference, of the largest that `bounds` allows.
double bounded_error(const at::Tensor& got, const at::Tensor& wanted, const at::Tensor& bounds) {
  return (got.to(at::kDouble).sub(wanted.to(at::kDouble)).abs().max() / bounds.max()).item<double>();
}

constexpr std::array kSchemes = {RingScheme::gather, RingScheme::zigzag, RingScheme::ring};

}  // namespace

TEST_CASE("Ranks that share a text compute what the golden file has") {
  const GoldenCase golden = golden_case("ring");
  for (const RingScheme scheme : kSchemes)
    for (const int ranks : {1, 2, 3, 4}) {
      CAPTURE(static_cast<int>(scheme));
      CAPTURE(ranks);
      CHECK(worst_error(in_ranks(golden.text, scheme, ranks), golden.wanted) <= 1e-6);
    }
}

TEST_CASE("Scores in the hundreds cost ranks that share a text no more than float32 must") {
  const GoldenCase golden = golden_case("ring-large-scores");
  const Result bounds = rounding_bounds(golden);
  for (const RingScheme scheme : kSchemes)
    for (const int ranks : {1, 2, 4}) {
      CAPTURE(static_cast<int>(scheme));
      CAPTURE(ranks);
      const Result got = in_ranks(golden.text, scheme, ranks);
      CHECK(error_of(got.out, golden.wanted.out) <= 1e-6);
      // Maximum and sum apart lose nothing; the kernel of one process keeps the logarithm of the sum, 649 +- 3e-5.
      if (scheme != RingScheme::gather) CHECK(error_of(got.dv, golden.wanted.dv) <= 1e-6);
      CHECK(bounded_error(got.dq, golden.wanted.dq, bounds.dq) <= 1);
      CHECK(bounded_error(got.dk, golden.wanted.dk, bounds.dk) <= 1);
      CHECK(bounded_error(got.dv, golden.wanted.dv, bounds.dv) <= 1);
    }
}

TEST_CASE(
    "Ranks that share texts compute in float64 what one process does, several rows and slices of any "
    "length") {
  const Text text = some_text(24 * 17);
  const Result wanted = in_one_process(text);
  for (const RingScheme scheme : kSchemes)
    for (const int ranks : {1, 2, 3, 4}) {
      CAPTURE(static_cast<int>(scheme));
      CAPTURE(ranks);
      CHECK(worst_error(in_ranks(text, scheme, ranks), wanted) <= 1e-13);
    }
}

TEST_CASE("Gathered keys know ALiBi, too") {
  Text text = some_text(48);
  text.slopes = at::tensor({0.5, 0.25, 0.125, 0.0625}, at::kDouble);
  const Result wanted = in_one_process(text);
  for (const int ranks : {2, 3})
    CHECK(worst_error(in_ranks(text, RingScheme::gather, ranks), wanted) <= 1e-13);
}

TEST_CASE("Bytes sent are those of the closed forms, and repeats have the same bits") {
  constexpr int64_t kLength = 24;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Text text = some_text(kLength).to(type);
    const auto bytes = static_cast<int64_t>(c10::elementSize(type));
    for (const RingScheme scheme : kSchemes)
      for (const int ranks : {2, 3, 4}) {
        CAPTURE(static_cast<int>(scheme));
        CAPTURE(ranks);
        const Result first = in_ranks(text, scheme, ranks);
        const int64_t rows = 2 * 2 * (kLength / ranks) * 2 * 8;  // k and v, B, n, H_kv, dh
        const int64_t passed_on = (ranks - 1) * rows * bytes;
        const int64_t gradients = scheme == RingScheme::gather ? (ranks - 1) * rows * 4 : ranks * rows * 4;
        for (int rank = 0; rank < ranks; ++rank) {
          const auto r = static_cast<size_t>(rank);
          CHECK(first.bytes_forward[r] == passed_on);
          CHECK(first.bytes_backward[r] == gradients + (scheme == RingScheme::gather ? 0 : passed_on));
        }
        const Result second = in_ranks(text, scheme, ranks);
        CHECK(at::equal(first.out, second.out));
        CHECK(at::equal(first.dq, second.dq));
        CHECK(at::equal(first.dk, second.dk));
        CHECK(at::equal(first.dv, second.dv));
      }
  }
}

TEST_CASE("In bf16 errors do not grow with the number of blocks") {
  const Text text = some_text(240).to(at::kBFloat16);
  const Result exact = in_one_process(text.to(at::kDouble));  // of the same rounded operands
  for (const RingScheme scheme : {RingScheme::zigzag, RingScheme::ring}) {
    CAPTURE(static_cast<int>(scheme));
    const double one = worst_error(in_ranks(text, scheme, 1), exact);
    const double four = worst_error(in_ranks(text, scheme, 4), exact);
    CHECK(four <= 1.01 * one);
    CHECK(four <= 1.0 / 256);  // half a unit in the last place of the largest value
  }
}
