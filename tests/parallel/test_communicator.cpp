#include "lib/parallel/communicator.h"

#include "tests/support/doctest.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <chrono>
#include <mutex>

#include "tests/parallel/ranks_under_test.h"
#include "tests/support/as_ranks.h"
#include "tests/support/error_of.h"

using namespace gca;
using namespace gca::testing;

namespace {

template <class Call>
std::string error_message(const Call& call) {
  const auto error = error_of(call);
  return error ? error->message : "";
}

/// What each rank gives, rank after rank; `device` is its own.
template <class T>
std::vector<T> on_ranks(int size, const std::function<T(parallel::Communicator&, at::Device device)>& work) {
  std::vector<T> results(static_cast<size_t>(size));
  as_ranks(size, [&](parallel::Communicator* communicator) {
    const at::Device device = connected_device(*communicator);
    results[static_cast<size_t>(communicator->rank())] = work(*communicator, device);
  });
  return results;
}

/// The payload that work() sends.
int64_t bytes_of(parallel::Communicator& communicator, const std::function<void()>& work) {
  const int64_t before = communicator.bytes_sent();
  work();
  return communicator.bytes_sent() - before;
}

/// Values of all magnitudes, so that another order of a sum gives other bits.
at::Tensor values_of(int rank, int64_t size, at::ScalarType type = at::kFloat) {
  const at::Tensor n = at::arange(size, at::kDouble).add(1000.0 * rank);
  return n.sin().mul(n.cos().mul(12).exp()).to(type);
}

}  // namespace

TEST_CASE("Gathering gives every rank all parts in the order of the ranks, and sends N - 1 copies") {
  for (const int size : {2, 3, 4})
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kLong}) {
      std::vector<int64_t> bytes(static_cast<size_t>(size));
      const auto all =
          on_ranks<at::Tensor>(size, [&](parallel::Communicator& communicator, at::Device device) {
            const at::Tensor own = at::full({5, 2}, communicator.rank() + 1, type).to(device);
            at::Tensor gathered;
            bytes[static_cast<size_t>(communicator.rank())] =
                bytes_of(communicator, [&] { gathered = communicator.all_gather(own, "parts"); });
            return gathered.to(at::kCPU);
          });
      for (size_t r = 0; r < all.size(); ++r) {
        REQUIRE(all[r].sizes() == at::IntArrayRef({size, 5, 2}));
        for (int part = 0; part < size; ++part)
          CHECK(all[r][part].eq(at::full({5, 2}, part + 1, type)).all().item<bool>());
        CHECK(bytes[r] == (size - 1) * 10 * static_cast<int64_t>(c10::elementSize(type)));
      }
    }
}

TEST_CASE("All-to-all transposes what ranks have for each other") {
  for (const int size : {2, 3, 4}) {
    const auto got =
        on_ranks<std::vector<at::Tensor>>(size, [&](parallel::Communicator& communicator, at::Device device) {
          std::vector<at::Tensor> to_rank;
          for (int r = 0; r < size; ++r)
            to_rank.push_back(at::full({3}, 10 * communicator.rank() + r, at::kLong).to(device));
          std::vector<at::Tensor> from_rank = communicator.all_to_all(to_rank, "parts");
          for (at::Tensor& one : from_rank) one = one.to(at::kCPU);
          return from_rank;
        });
    for (int r = 0; r < size; ++r)
      for (int from = 0; from < size; ++from)
        CHECK(got[static_cast<size_t>(r)][static_cast<size_t>(from)].eq(10 * from + r).all().item<bool>());
  }
}

TEST_CASE("What is sent is received, from each sender in its order, and by nobody else") {
  const auto got = on_ranks<at::Tensor>(3, [](parallel::Communicator& communicator, at::Device device) {
    const at::Tensor x = at::full({3}, -1.0, at::kDouble).to(device);
    const auto send = [&](double value) {
      communicator.send(at::full({1}, value, at::kDouble).to(device), 2, "a value");
    };
    if (communicator.rank() == 0) send(7.0);
    if (communicator.rank() == 1) send(8.0);
    if (communicator.rank() == 1) send(9.0);
    if (communicator.rank() == 2) {
      int64_t place = 0;
      for (const int from : {1, 0, 1}) communicator.receive(x.narrow(0, place++, 1), from, "a value");
    }
    return x.to(at::kCPU);
  });
  CHECK(at::equal(got[2], at::tensor({8.0, 7.0, 9.0}, at::kDouble)));
  CHECK(got[0].eq(-1.0).all().item<bool>());
}

TEST_CASE("Sums over ranks have the bits of a loop over the ranks, however often they are made") {
  constexpr int64_t kSize = 10007;  // no multiple of any number of ranks
  for (const int size : {2, 3, 4})
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
      const at::ScalarType sum_type = type == at::kDouble ? at::kDouble : at::kFloat;
      at::Tensor expected = values_of(0, kSize, type).to(sum_type);
      at::Tensor backwards = values_of(size - 1, kSize, type).to(sum_type);
      for (int r = 1; r < size; ++r) expected = expected + values_of(r, kSize, type).to(sum_type);
      for (int r = size - 2; r >= 0; --r) backwards = backwards + values_of(r, kSize, type).to(sum_type);
      if (size > 2) CHECK_FALSE(at::equal(expected, backwards));
      for (int repeat = 0; repeat < 5; ++repeat) {
        std::vector<int64_t> bytes(static_cast<size_t>(size));
        const auto sums =
            on_ranks<at::Tensor>(size, [&](parallel::Communicator& communicator, at::Device device) {
              const at::Tensor own = values_of(communicator.rank(), kSize, type).to(device);
              at::Tensor sum;
              bytes[static_cast<size_t>(communicator.rank())] =
                  bytes_of(communicator, [&] { sum = communicator.ordered_all_reduce(own, "sums"); });
              return sum.to(at::kCPU);
            });
        const int64_t slice = (kSize + size - 1) / size;
        for (size_t r = 0; r < sums.size(); ++r) {
          CHECK(at::equal(sums[r], expected));
          CHECK(bytes[r] == (size - 1) * slice *
                                static_cast<int64_t>(c10::elementSize(type) + c10::elementSize(sum_type)));
        }
      }
    }
}

TEST_CASE("Each rank gets its slice of a sum, and sends the others theirs") {
  for (const int size : {2, 3, 4}) {
    std::vector<int64_t> bytes(static_cast<size_t>(size));
    const auto slices =
        on_ranks<at::Tensor>(size, [&](parallel::Communicator& communicator, at::Device device) {
          const at::Tensor own = values_of(communicator.rank(), 6 * size).view({2 * size, 3}).to(device);
          at::Tensor sum;
          bytes[static_cast<size_t>(communicator.rank())] =
              bytes_of(communicator, [&] { sum = communicator.ordered_reduce_scatter(own, "slices"); });
          return sum.to(at::kCPU);
        });
    at::Tensor expected = values_of(0, 6 * size);
    for (int r = 1; r < size; ++r) expected = expected + values_of(r, 6 * size);
    for (int r = 0; r < size; ++r) {
      CHECK(at::equal(slices[static_cast<size_t>(r)], expected.view({2 * size, 3}).narrow(0, 2 * r, 2)));
      CHECK(bytes[static_cast<size_t>(r)] == (size - 1) * 6 * 4);
    }
  }
}

TEST_CASE("Exchanges that overlap do not mix their messages") {
  const auto right = on_ranks<bool>(3, [](parallel::Communicator& communicator, at::Device device) {
    std::vector<parallel::Exchange> exchanges;
    std::vector<std::vector<at::Tensor>> received;
    for (int i = 0; i < 8; ++i) {
      const at::Tensor own = at::full({1 << 14}, 100 * i + communicator.rank(), at::kFloat).to(device);
      std::vector<at::Tensor> parts;
      for (int r = 0; r < 3; ++r) parts.push_back(at::empty_like(own));
      received.push_back(parts);
      exchanges.push_back(communicator.start_exchange(std::vector<at::Tensor>(3, own), parts, "parts"));
    }
    bool is_right = true;
    for (size_t i = exchanges.size(); i-- > 0;) {
      exchanges[i].wait();
      for (int r = 0; r < 3; ++r)
        if (r != communicator.rank())
          is_right = is_right && received[i][static_cast<size_t>(r)]
                                     .to(at::kCPU)
                                     .eq(100.0 * static_cast<double>(i) + r)
                                     .all()
                                     .item<bool>();
    }
    return is_right;
  });
  CHECK(right == std::vector<bool>{true, true, true});
}

TEST_CASE("A peer that is gone is an error that names rank, stage, peer and message") {
  std::string message;
  as_ranks(2, [&](parallel::Communicator* communicator) {
    const at::Device device = connected_device(*communicator);
    communicator->any(true, "the beginning");
    if (communicator->rank() == 0) return;
    communicator->begin_stage("step 118", "resume from the last checkpoint");
    message = error_message([&] { communicator->all_gather(at::full({1}, 1.0).to(device), "gradients"); });
  });
  CHECK(message.starts_with("rank 1: step 118: rank 0 was lost while exchanging gradients ("));
  CHECK(message.ends_with("); resume from the last checkpoint"));
  CHECK(message.find('\n') == std::string::npos);
}

TEST_CASE("A peer that is silent is an error after the time that was set") {
  using Clock = std::chrono::steady_clock;
  double waited_seconds = 0;
  std::string message;
  std::mutex is_silent;
  is_silent.lock();
  as_ranks(2,
           [&](parallel::Communicator* communicator) {
             const at::Device device = connected_device(*communicator);
             communicator->any(true, "the beginning");
             if (communicator->rank() == 0) {
               const std::lock_guard wait(is_silent);
               return;
             }
             const auto start = Clock::now();
             message =
                 error_message([&] { communicator->all_gather(at::full({1}, 1.0).to(device), "gradients"); });
             waited_seconds = std::chrono::duration<double>(Clock::now() - start).count();
             is_silent.unlock();
           },
           {.message = std::chrono::milliseconds(500)});
  CHECK(message.find("rank 0 was lost while exchanging gradients") != std::string::npos);
  CHECK(waited_seconds > 0.4);
  CHECK(waited_seconds < 5.0);
}
