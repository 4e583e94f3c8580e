#pragma once
// A team of threads that walk through the same steps together: for work whose steps are too short to fork and
// join at each of them (decoding: microseconds).

#include <ATen/Parallel.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <optional>
#include <span>
#include <thread>

namespace gca::kernels {

/// Memory that a thread reads next.
using MemoryAhead = std::span<const std::byte>;

/// Waits are short, so threads spin; one that has waited long lets others run.
class SpinBarrier {
 public:
  explicit SpinBarrier(int threads) : threads_(threads) {}

  /// Returns when all threads of the team have come here. What they wrote before is then visible. A thread that
  /// waits fetches the beginning of `ahead` into its second-level cache meanwhile.
  void wait(MemoryAhead ahead = {}) {
    const unsigned phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return;
    }
    ahead = ahead.first(std::min(ahead.size(), kMostAheadBytes));
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
      if (!ahead.empty()) {
        __builtin_prefetch(ahead.data(), 0, 2);
        ahead = ahead.subspan(std::min(ahead.size(), kLineBytes));
      } else if (spins < kSpins) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr int kSpins = 20000;
  static constexpr size_t kLineBytes = 64;
  static constexpr size_t kMostAheadBytes = size_t{128} << 10;  // of a cache of 0.5 to 2 MB

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  int threads_;
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> phase_{0};
};

/// One thread's place in a team.
struct TeamMember {
  int number, size;
  SpinBarrier* barrier;

  void wait(MemoryAhead ahead = {}) const { barrier->wait(ahead); }

  struct Range {
    int64_t begin, end;
  };
  /// This member's share of `count` things, in whole units.
  Range share(int64_t count, int64_t unit = 1) const {
    const int64_t units = (count + unit - 1) / unit;
    const int64_t first = units * number / size * unit, last = units * (number + 1) / size * unit;
    return {std::min(first, count), std::min(last, count)};
  }
};

/// Runs `work(member)` in every thread of a team of at::get_num_threads(), or alone inside a parallel region.
/// `work` must not throw.
template <typename Work>
void run_team(const Work& work) {
  const int wanted = at::in_parallel_region() ? 1 : at::get_num_threads();
  if (wanted == 1) {
    SpinBarrier barrier(1);
    work(TeamMember{0, 1, &barrier});
    return;
  }
  std::optional<SpinBarrier> barrier;
#pragma omp parallel num_threads(wanted)
  {
    // The runtime may give fewer threads than wanted: the barrier counts those that came.
#pragma omp single
    barrier.emplace(omp_get_num_threads());
    work(TeamMember{omp_get_thread_num(), omp_get_num_threads(), &*barrier});
  }
}

}  // namespace gca::kernels
