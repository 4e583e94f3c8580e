#pragma once
// What a run left behind: training, validations, evaluations and speeds, as numbers.

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gca::report {

inline constexpr double kUnknownNumber = std::numeric_limits<double>::quiet_NaN();

/// One step of training. Losses are in nats per token.
struct TrainPoint {
  int64_t step = 0;
  int64_t tokens = 0;  ///< of text, trained on so far
  double loss = kUnknownNumber;
  double seconds = kUnknownNumber;  ///< spent in steps so far, without validations and saving
  double tokens_per_second = kUnknownNumber;
  // Of the retrieval, means over groups; see lib/train/retrieval_diagnostics.h.
  double spread = kUnknownNumber;
  double entropy = kUnknownNumber;
  double mean_distance = kUnknownNumber;
};

/// Losses of the same sequences with three choices of chunks, in nats per token, and the spread of the
/// scores.
struct ReadingLosses {
  double learned = kUnknownNumber;
  double random = kUnknownNumber;
  double none = kUnknownNumber;
  double spread = kUnknownNumber;

  double of_reading() const { return none - learned; }
  double of_choice() const { return random - learned; }
};

/// One validation of one task.
struct ValidPoint {
  int64_t step = 0;
  int64_t tokens = 0;
  double loss = kUnknownNumber;
  double seconds = kUnknownNumber;  ///< of training before it
  double bits_per_byte = kUnknownNumber;
  double accuracy = kUnknownNumber;  ///< share of targets, 0 to 1
  std::string task = {};             ///< of several; empty where there is one
  ReadingLosses reading = {};
};

/// Perplexity at one context.
struct ContextLoss {
  int64_t context = 0;
  std::string retriever;  ///< empty: the model has nothing to choose from
  double loss = kUnknownNumber;
  double perplexity = kUnknownNumber;
  double bits_per_byte = kUnknownNumber;
  std::string data = {};  ///< what was read, as given to gca eval
};

/// Loss of the predicting tokens number [from, to) of their stretch.
struct ReportedPositionLoss {
  int64_t context = 0;
  std::string retriever;
  int64_t from = 0;
  int64_t to = 0;
  double loss = kUnknownNumber;
  std::string data = {};
};

/// How often something planted in a text was found again.
struct Recall {
  std::string task;  ///< "passkey", ...
  std::string retriever;
  int64_t context = 0;
  double depth = kUnknownNumber;  ///< 0 the start of the text, 1 its end; NaN: over all depths
  int64_t trials = 0;
  int64_t correct = 0;
  std::string data = {};
};

/// Speed of one mode of gca bench.
struct Speed {
  std::string mode;  ///< "training", "prefill", ...
  int64_t context = 0;
  double tokens_per_second = kUnknownNumber;
};

/// What a run is made of: training, or the evaluation or benchmark of a model that is not among the runs.
enum class RunKind { training, evaluation, benchmark };

struct RunResults {
  RunKind kind = RunKind::training;
  std::string path;  ///< folder or file
  std::string name;  ///< what it is called, unlike every other run
  nlohmann::json settings = nlohmann::json::object();
  std::string plan_file = {};  ///< that --phases named; empty where it is not known
  uint64_t seed = 0;
  int64_t parameters = 0;     ///< 0: unknown
  int64_t steps = 0;          ///< made
  int64_t planned_steps = 0;  ///< 0: unknown
  int64_t tokens = 0;         ///< of text, trained on
  bool has_ended = false;     ///< a run of training without a report has not
  double train_seconds = kUnknownNumber;
  double tokens_per_second = kUnknownNumber;
  std::vector<TrainPoint> train = {};
  std::vector<ValidPoint> valid = {};
  std::vector<ContextLoss> contexts = {};
  std::vector<ReportedPositionLoss> positions = {};
  std::vector<Recall> recalls = {};
  std::vector<Speed> speeds = {};
};

/// The last validation: of text, or of the only task. Nothing where there is none.
const ValidPoint* last_validation(const RunResults& run);

}  // namespace gca::report
