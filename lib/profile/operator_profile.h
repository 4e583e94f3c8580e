#pragma once
// Where the time of a piece of work goes, by operator: LibTorch reports when an operator begins and ends, ours
// among them. An operator's time is its own, without that of operators it calls, so the parts add up to the whole.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gca::profile {

struct OperatorTime {
  std::string name;  ///< "gca::sliding_window_attention", "aten::mm", "LinearFunction backward"
  int64_t calls = 0;
  double seconds = 0;  ///< its own time
};

/// Collects between start() and stop(), as often as wanted, what the calling thread does. Threads that an
/// operator uses are part of it. At most one profile of a thread runs at a time.
class OperatorProfile {
 public:
  OperatorProfile() = default;
  ~OperatorProfile();
  OperatorProfile(const OperatorProfile&) = delete;
  OperatorProfile& operator=(const OperatorProfile&) = delete;

  void start();
  void stop();

  double elapsed_seconds() const { return elapsed_seconds_; }
  /// Longest first.
  std::vector<OperatorTime> operators() const;
  /// Share of the elapsed time that was spent in operators.
  double explained() const;

  /// {"seconds", "explained", "operators": [{"operator", "calls", "seconds", "share"}]}
  nlohmann::ordered_json to_json() const;
  /// A line an operator, those below half a percent together, then the time between operators.
  std::string table() const;

 private:
  friend struct ProfileFrame;
  std::map<std::string, OperatorTime> times_;
  double elapsed_seconds_ = 0;
  double started_ = 0;
  uint64_t callback_ = 0;  // LibTorch's handle while running
};

}  // namespace gca::profile
