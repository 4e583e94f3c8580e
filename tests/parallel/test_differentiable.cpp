// Messages with gradients, against one process that has all rows.

#include "lib/parallel/differentiable.h"

#include "tests/support/doctest.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "tests/support/as_ranks.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kRows = 3;  // of each rank

/// Numbers that are no multiples of each other, (2, rows, 5).
at::Tensor some_values(int64_t rows, double phase) {
  return at::arange(2 * rows * 5, at::kDouble).add(phase).sin().view({2, rows, 5});
}

struct RankResult {
  at::Tensor out;
  at::Tensor gradient;  ///< of the own rows
  int64_t bytes_forward = 0;
  int64_t bytes_backward = 0;
};

/// Each rank applies `operation` to its rows of some_values(); the loss is the sum over ranks and values of
/// out * some_values(its rows, rank).
std::vector<RankResult> results_of(
    int size, const std::function<at::Tensor(const at::Tensor& x, parallel::Communicator&)>& operation) {
  std::vector<RankResult> results(static_cast<size_t>(size));
  as_ranks(size, [&](parallel::Communicator* communicator) {
    RankResult& result = results[static_cast<size_t>(communicator->rank())];
    const at::Tensor x = some_values(size * kRows, 0.5)
                             .narrow(1, communicator->rank() * kRows, kRows)
                             .contiguous()
                             .requires_grad_();
    result.out = operation(x, *communicator);
    result.bytes_forward = communicator->bytes_sent();
    result.out.mul(some_values(result.out.size(1), communicator->rank())).sum().backward();
    result.bytes_backward = communicator->bytes_sent() - result.bytes_forward;
    result.gradient = x.grad();
    result.out = result.out.detach();
  });
  return results;
}

/// The gradient of the same loss where one process has all rows and part_of gives what rank r reads of them.
at::Tensor whole_gradient(int size, const std::function<at::Tensor(const at::Tensor& x, int rank)>& part_of) {
  const at::Tensor x = some_values(size * kRows, 0.5).requires_grad_();
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (int r = 0; r < size; ++r) {
    const at::Tensor part = part_of(x, r);
    loss = loss + part.mul(some_values(part.size(1), r)).sum();
  }
  loss.backward();
  return x.grad();
}

void check_gradients(const std::vector<RankResult>& results, const at::Tensor& expected) {
  for (size_t r = 0; r < results.size(); ++r) {
    const at::Tensor own = expected.narrow(1, static_cast<int64_t>(r) * kRows, kRows);
    CHECK(results[r].gradient.sub(own).abs().max().item<double>() <= 1e-14);
  }
}

}  // namespace

TEST_CASE("Rows to the left are those before the own, and their gradients return") {
  for (const int size : {2, 3, 4})
    for (const int64_t window : {1, 2, 3, 5, 8, 100}) {
      CAPTURE(size);
      CAPTURE(window);
      const auto results = results_of(size, [&](const at::Tensor& x, parallel::Communicator& communicator) {
        return parallel::left_rows(x, window, communicator);
      });
      const auto left_of = [&](const at::Tensor& x, int rank) {
        const int64_t count = std::min(window, rank * kRows);
        return x.narrow(1, rank * kRows - count, count);
      };
      for (int r = 0; r < size; ++r) {
        const RankResult& result = results[static_cast<size_t>(r)];
        CHECK(at::equal(result.out, left_of(some_values(size * kRows, 0.5), r)));
        int64_t sent = 0;
        for (int64_t hop = 0; hop < size - 1 - r; ++hop)
          sent += std::min(kRows, std::max<int64_t>(0, window - hop * kRows));
        CHECK(result.bytes_forward == sent * 2 * 5 * 8);
        CHECK(result.bytes_backward == result.out.numel() * 8);
      }
      check_gradients(results, whole_gradient(size, left_of));
    }
}

TEST_CASE("Gathered rows are those of all ranks, and their gradients add up") {
  for (const int size : {2, 3, 4}) {
    const auto results = results_of(size, parallel::gather_rows);
    for (const RankResult& result : results) {
      CHECK(at::equal(result.out, some_values(size * kRows, 0.5)));
      CHECK(result.bytes_forward == (size - 1) * kRows * 2 * 5 * 8);
      CHECK(result.bytes_backward == result.bytes_forward);
    }
    check_gradients(results, whole_gradient(size, [](const at::Tensor& x, int) { return x; }));
  }
}

TEST_CASE("The last row goes to the right neighbour, and its gradient comes back") {
  for (const int size : {2, 3}) {
    const auto last_of = [](const at::Tensor& x, int64_t end) { return x.narrow(1, end - 1, 1); };
    const auto results = results_of(size, [&](const at::Tensor& x, parallel::Communicator& communicator) {
      return parallel::shift_right(last_of(x, kRows), 7.0, communicator);
    });
    const at::Tensor all = some_values(size * kRows, 0.5);
    CHECK(results[0].out.eq(7.0).all().item<bool>());
    for (int r = 1; r < size; ++r)
      CHECK(at::equal(results[static_cast<size_t>(r)].out, last_of(all, r * kRows)));
    for (int r = 0; r < size; ++r)
      CHECK(results[static_cast<size_t>(r)].bytes_forward == (r + 1 < size ? 2 * 5 * 8 : 0));
    check_gradients(results, whole_gradient(size, [&](const at::Tensor& x, int rank) {
                      return rank == 0 ? at::full({2, 1, 5}, 7.0, at::kDouble) : last_of(x, rank * kRows);
                    }));
  }
}

TEST_CASE("Gradients of bf16 rows are added up in float32, in the order of the ranks") {
  constexpr int kSize = 4;
  std::vector<at::Tensor> gradients(kSize);
  as_ranks(kSize, [&](parallel::Communicator* communicator) {
    const at::Tensor x = at::full({1, 1, 1}, 1.0, at::kBFloat16).requires_grad_();
    // 256 + 1 is 256 in bf16, and 256 + 3 is 258 or 260: in float32 it is rounded once.
    const double factor = communicator->rank() == 0 ? 256 : 1;
    parallel::gather_rows(x, *communicator).mul(factor).sum().backward();
    gradients[static_cast<size_t>(communicator->rank())] = x.grad();
  });
  for (const at::Tensor& gradient : gradients)
    CHECK(gradient.item<double>() == at::full({}, 259.0, at::kFloat).to(at::kBFloat16).item<double>());
}
