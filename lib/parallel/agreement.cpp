#include "lib/parallel/agreement.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <exception>

#include "lib/core/interrupted.h"

namespace gca::parallel {
namespace {

/// How work ended on a rank: 0, an ErrorKind, or this.
constexpr int kInterruption = 3;

struct Ending {
  int status = 0;
  std::exception_ptr failure;
};

Ending ending_of(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return {static_cast<int>(error.kind()), std::current_exception()};
  } catch (const Interrupted&) {
    return {kInterruption, std::current_exception()};
  } catch (const std::exception&) {
    return {static_cast<int>(ErrorKind::failed), std::current_exception()};
  }
}

/// `statuses`: one of each rank.
void throw_first_failure(const Communicator& communicator, const Ending& own,
                         const std::vector<int>& statuses) {
  for (int r = 0; r < communicator.size(); ++r) {
    const int status = statuses[static_cast<size_t>(r)];
    if (status == 0) continue;
    if (r == communicator.rank()) std::rethrow_exception(own.failure);
    if (status == kInterruption) throw Interrupted();
    throw FailedElsewhere(static_cast<ErrorKind>(status));
  }
}

at::Tensor bytes_tensor(int64_t size) {
  return at::empty({size}, at::kByte);
}

}  // namespace

void succeed_together(Communicator* communicator, const std::function<void()>& work) {
  if (communicator == nullptr) return work();
  const Ending own = ending_of(work);
  const std::array<double, 1> status = {static_cast<double>(own.status)};
  const std::vector<double> all = communicator->all_gather_values(status, "whether all went well");
  throw_first_failure(*communicator, own, {all.begin(), all.end()});
}

std::vector<std::string> gather_results(Communicator& communicator, const std::function<std::string()>& work,
                                        const std::string& what) {
  std::string result;
  const Ending own = ending_of([&] { result = work(); });
  const std::array<double, 2> told = {static_cast<double>(own.status), static_cast<double>(result.size())};
  const std::vector<double> all = communicator.all_gather_values(told, what);
  std::vector<int> statuses;
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < all.size(); i += 2) {
    statuses.push_back(static_cast<int>(all[i]));
    sizes.push_back(static_cast<int64_t>(all[i + 1]));
  }
  throw_first_failure(communicator, own, statuses);

  std::vector<at::Tensor> to_rank(sizes.size());
  std::vector<at::Tensor> from_rank(sizes.size());
  if (communicator.rank() > 0) {
    to_rank[0] = bytes_tensor(static_cast<int64_t>(result.size()));
    if (!result.empty()) std::memcpy(to_rank[0].mutable_data_ptr(), result.data(), result.size());
  } else {
    for (size_t r = 1; r < sizes.size(); ++r) from_rank[r] = bytes_tensor(sizes[r]);
  }
  communicator.start_exchange(to_rank, from_rank, what).wait();
  if (communicator.rank() > 0) return {};
  std::vector<std::string> results = {std::move(result)};
  for (size_t r = 1; r < sizes.size(); ++r)
    results.emplace_back(static_cast<const char*>(from_rank[r].const_data_ptr()),
                         static_cast<size_t>(sizes[r]));
  return results;
}

void require_same(Communicator& communicator, const std::vector<std::pair<std::string, std::string>>& facts) {
  for (const auto& [name, text] : facts) {
    const std::vector<std::string> all = communicator.all_gather_text(text, "what they run");
    for (size_t r = 1; r < all.size(); ++r) {
      if (all[r] == all[0]) continue;
      if (communicator.rank() != 0) throw FailedElsewhere(ErrorKind::usage);
      fail_usage(fmt::format("rank {}", r), fmt::format("its {} differs from that of rank 0", name),
                 "start every rank with the same program, command line and files");
    }
  }
}

}  // namespace gca::parallel
