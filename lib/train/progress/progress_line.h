#pragma once
// The progress of a run on standard error: one line rewritten on a terminal, a line every ten seconds
// elsewhere.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace gca::train {

struct Progress {
  int64_t step = 0;
  int64_t total_steps = 0;
  int64_t tokens = 0;
  std::vector<double> passes;  ///< over each data set; empty where there is none
  double loss = 0.0;
  double tokens_per_second = 0.0;
  double seconds_left = 0.0;
};

/// "step 120/2000  tokens 983K  passes 1.25  loss 5.1234  4.1K tokens/s  12:34 left"
std::string progress_text(const Progress& progress);

class ProgressLine {
 public:
  explicit ProgressLine(bool quiet);
  /// Ends the rewritten line.
  ~ProgressLine();

  /// Shows `progress` when it is time to.
  void update(const Progress& progress);
  /// A line of its own, between updates.
  void say(const std::string& line);

 private:
  void clear();
  bool quiet_;
  bool is_terminal_;
  bool is_shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace gca::train
