#pragma once
// What a run left behind, read back: the metrics and report of gca pretrain, the reports of gca eval beside them.

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gca::report {

inline constexpr double kUnknownNumber = std::numeric_limits<double>::quiet_NaN();

/// A loss during training, in nats a token.
struct LossPoint {
  int64_t step = 0;
  int64_t tokens = 0;  ///< of text, trained on before
  double loss = kUnknownNumber;
};

/// Perplexity at one context.
struct ContextLoss {
  int64_t context = 0;
  std::string retriever;
  double loss = kUnknownNumber;
  double perplexity = kUnknownNumber;
  double bits_per_byte = kUnknownNumber;
};

/// Loss of the predicting tokens number [from, to) of their stretch.
struct ReportedPositionLoss {
  int64_t context = 0;
  std::string retriever;
  int64_t from = 0;
  int64_t to = 0;
  double loss = kUnknownNumber;
};

/// How often something planted in a text was found again.
struct Recall {
  std::string task;  ///< "passkey", ...
  std::string retriever;
  int64_t context = 0;
  double depth = kUnknownNumber;  ///< 0 the start of the text, 1 its end; NaN: over all depths
  int64_t trials = 0;
  int64_t correct = 0;
};

struct RunResults {
  std::string name;  ///< folder or file as given
  nlohmann::json settings = nlohmann::json::object();
  uint64_t seed = 0;
  int64_t parameters = 0;  ///< 0: unknown
  double tokens_per_second = kUnknownNumber;
  std::vector<LossPoint> train, valid;
  std::vector<ContextLoss> contexts;
  std::vector<ReportedPositionLoss> positions;
  std::vector<Recall> recalls;
};

/// Each path is the output folder of a run (metrics.jsonl, report.json, and any reports of gca eval in it) or
/// a report. A report of gca eval on the checkpoint of a run that is named, too, becomes part of that run.
/// Throws Error(usage) naming a path that holds nothing of the kind, or a file that is damaged.
std::vector<RunResults> read_runs(const std::vector<std::string>& paths);

}  // namespace gca::report
