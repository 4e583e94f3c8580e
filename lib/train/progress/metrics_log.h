#pragma once
// metrics.jsonl: one JSON object a line. Lines of a step: step, tokens, loss, bits_per_byte, learning_rate,
// gradient_norm, residual_blend, tokens_per_second, and retrieval (per group: spread, entropy, mean_distance)
// where it was looked at. Lines of a validation: step and valid (the fields of the report's list). `step`
// counts the steps made.

#include <nlohmann/json.hpp>
#include <string>

namespace gca::train {

class MetricsLog {
 public:
  /// Opens `path` for appending. Lines after `step` are cut first (a run that stopped after its last
  /// checkpoint), and a torn last line with them; step -1 keeps nothing.
  MetricsLog(std::string path, int64_t step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  /// Writes one line, as a whole. Throws Error(failed) naming the file.
  void append(const nlohmann::ordered_json& line);

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace gca::train
