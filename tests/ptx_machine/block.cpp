#include "tests/ptx_machine/block.h"

#include <algorithm>

#include "tests/ptx_machine/warp.h"

namespace ptx {

void ReportLog::add(Report report) {
  for (Report& known : reports_) {
    if (known.fault == report.fault && known.place == report.place) {
      ++known.times;
      return;
    }
  }
  reports_.push_back(std::move(report));
}

Block::Block(LaunchState& launch_state)
    : state(launch_state),
      shared(
          kSharedBase + launch_state.program.static_shared_bytes + launch_state.launch.dynamic_shared_bytes,
          (launch_state.launch.block.x * launch_state.launch.block.y * launch_state.launch.block.z +
           kWarpSize - 1) /
              kWarpSize,
          launch_state.program.smallest_shared_access),
      thread_count(launch_state.launch.block.x * launch_state.launch.block.y * launch_state.launch.block.z) {
  for (uint32_t i = 0; i * kWarpSize < thread_count; ++i) warps.push_back(std::make_unique<Warp>(*this, i));
}

Block::~Block() = default;

void Block::run(uint64_t linear) {
  linear_index = linear;
  const Dim3 grid = state.launch.grid;
  index = {static_cast<uint32_t>(linear % grid.x), static_cast<uint32_t>(linear / grid.x % grid.y),
           static_cast<uint32_t>(linear / grid.x / grid.y)};
  barriers_.clear();
  mbarriers.clear();
  meetings_ = {};
  const uint32_t first_clock = shared.begin_block();
  for (const auto& warp : warps) warp->begin(first_clock + 1);

  std::mt19937_64 random(state.options.seed * 0x9E3779B97F4A7C15U + linear);
  std::vector<Warp*> order;
  for (const auto& warp : warps) order.push_back(warp.get());
  for (;;) {
    std::shuffle(order.begin(), order.end(), random);
    const uint64_t progress_before = progress;
    bool ran = false;
    bool polls = false;
    for (Warp* warp : order) {
      if (warp->status() == Warp::Status::yielded) {
        polls = true;
        warp->set_ready();
        warp->run();
      } else if (warp->status() == Warp::Status::ready) {
        ran = true;
        warp->run();
      }
    }
    if (std::all_of(order.begin(), order.end(),
                    [](const Warp* w) { return w->status() == Warp::Status::done; }))
      break;
    if (!ran && (!polls || progress == progress_before)) {
      report_stuck();
      break;
    }
  }
  if (state.program.has_wgmma) check_warpgroups();
  ++state.counters.blocks;
}

bool Block::meet_warpgroup(uint32_t warp) {
  ++progress;
  if (++meetings_[warp / 4] < 4) {
    warps[warp]->stop(Warp::Status::at_barrier);
    return false;
  }
  meetings_[warp / 4] = 0;
  for (uint32_t other = warp / 4 * 4; other < warp / 4 * 4 + 4; ++other) {
    if (other != warp) warps[other]->set_ready();
  }
  return true;
}

void Block::check_warpgroups() {
  for (size_t i = 0; i < warps.size(); ++i) {
    if (warps[i]->products.history == warps[i / 4 * 4]->products.history) continue;
    warps[i]->report(Fault::divergent_warpgroup, 0, 0,
                     "ended after other instructions of wgmma than its warpgroup's first warp");
  }
}

void Block::arrive(uint32_t number, uint32_t warp, uint32_t threads, bool waits) {
  NamedBarrier& barrier = barriers_[number];
  Warp& arriving = *warps[warp];
  if (barrier.arrived != 0 && barrier.expected != threads) {
    arriving.report(Fault::divergent_barrier, 0, number,
                    "the barrier's warps expect different numbers of threads");
  }
  barrier.expected = threads;
  barrier.arrived += static_cast<uint32_t>(std::popcount(arriving.live()));
  barrier.arrivals.push_back(warp);
  ++state.counters.barriers;
  ++progress;
  if (waits) {
    barrier.waiting.push_back(warp);
    arriving.stop(Warp::Status::at_barrier);
  }
  if (barrier.arrived >= barrier.expected) open(barrier);
}

void Block::open(NamedBarrier& barrier) {
  SeenClocks joined = {}, joined_fenced = {};
  for (const uint32_t warp : barrier.arrivals) {
    warps[warp]->tick();
    for (uint32_t other = 0; other < kMaxWarps; ++other) {
      joined[other] = std::max(joined[other], warps[warp]->seen[other]);
      joined_fenced[other] = std::max(joined_fenced[other], warps[warp]->fenced[other]);
    }
  }
  for (const uint32_t warp : barrier.waiting) {
    warps[warp]->seen = joined;
    warps[warp]->fenced = joined_fenced;
    warps[warp]->set_ready();
  }
  barrier = {};
}

void Block::report_stuck() {
  const bool someone_left = std::any_of(
      warps.begin(), warps.end(), [](const auto& warp) { return warp->status() == Warp::Status::done; });
  for (const auto& warp : warps) {
    if (warp->status() == Warp::Status::done) continue;
    const bool at_barrier = warp->status() == Warp::Status::at_barrier;
    warp->report(at_barrier ? Fault::divergent_barrier : Fault::deadlock, 0, 0,
                 at_barrier ? (someone_left ? "other warps have ended without coming here"
                                            : "other warps wait elsewhere")
                            : "polls for what no other warp will do");
  }
}

}  // namespace ptx
