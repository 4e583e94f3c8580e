#include "lib/train/settings/start_up_curriculum.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace gca::train {

extern const std::string_view kStartUpPhases;  // start_up_phases.json, embedded

namespace {

using Json = nlohmann::json;

/// Repeats beside the text: paragraphs among kRepeatChunks chunks, all of which are read, so that the
/// landmarks go on learning to tell chunks apart while the new embedding is learned.
constexpr int64_t kRepeatChunks = 40;
constexpr int64_t kParagraphChunks = 16;
constexpr int64_t kRepeatTopK = 32;

/// The first stages read at most so many tokens: a new embedding takes as long to learn in a short run as in a long
/// one, and until then the layers must not forget what they can do. In a short run they are at most half of its steps,
/// divided in the same way.
constexpr int64_t kWarmUpTokens = 400'000;
constexpr int64_t kVocabularyTokens = 1'200'000;

/// The new vocabulary is learned when so large a share of the repeats is right, which is looked at so many times.
constexpr double kRepeatsRight = 0.55;
constexpr int64_t kLooks = 12;

struct Stage {
  const char* name;
  int64_t tokens;                   ///< of the first stages
  bool ends_when_learned;           ///< where repeats are found
  double part;                      ///< of the steps after the first stages
  double text_share;                ///< steps on text for each step on repeats; 0: text alone
  double rate_from, rate_to;        ///< of the peak of the learning rate; below 0: the floor
  double dropout_from, dropout_to;  ///< of retrieval
  double noise_from, noise_to;      ///< gumbel_scale
};

constexpr std::array kStages = {
    Stage{"start-up: warm-up", kWarmUpTokens, false, 0, 1, 0.25, 1, 0.35, 0.35, 0.3, 0.3},
    Stage{"start-up: until repeats are found", kVocabularyTokens, true, 0, 1, 1, 1, 0.35, 0.35, 0.3, 0.3},
    Stage{"start-up: text beside repeats", 0, false, 0.15, 7, 1, 1, 0.35, 0.15, 0.3, 0.3},
    Stage{"text", 0, false, 0.36, 0, 1, 1, 0.15, 0.05, 0.3, 0.3},
    Stage{"text, falling learning rate", 0, false, 0.49, 0, 1, -1, 0.05, 0, 0.3, 0.1},
};

Json ramp(double from, double to) {
  return from == to ? Json(from) : Json::array({from, to});
}

}  // namespace

Json start_up_training(const RunConfig& config) {
  Json plan = Json::parse(kStartUpPhases);
  for (Json& phase : plan["phases"]) {
    Json& rate = phase["learning_rate"];
    if (rate.is_array())
      for (Json& end : rate) end = end.get<double>() * config.train.learning_rate;
    else
      rate = rate.get<double>() * config.train.learning_rate;
  }
  return plan;
}

Json start_up_curriculum(const RunConfig& config, int64_t total_steps) {
  const TrainConfig& train = config.train;
  const double peak = train.learning_rate;
  const auto rate = [&](double factor) { return factor < 0 ? train.min_learning_rate : factor * peak; };

  Json shared = Json::object();
  const auto propose = [&](const char* key, const Json& value) {
    if (!config.explicit_keys.contains(key)) shared[key] = value;
  };
  propose("residual_blend", 0);
  propose("weight_rounding", 0.3);

  const int64_t text_tokens = train.batch * train.context;
  const int64_t repeat_tokens = kRepeatChunks * config.model.chunk_text_size();
  Json phases = Json::array();
  int64_t tokens_left = 0;
  double parts_left = 0;
  for (const Stage& stage : kStages) {
    tokens_left += stage.tokens;
    parts_left += stage.part;
  }
  int64_t first_left = std::min(tokens_left / text_tokens + 1, (total_steps + 1) / 2);
  int64_t left = total_steps - first_left;
  for (const Stage& stage : kStages) {
    int64_t steps = 0;
    if (stage.tokens > 0) {
      steps = first_left * stage.tokens / tokens_left;
      first_left -= steps;
      tokens_left -= stage.tokens;
    } else {
      steps = std::llround(static_cast<double>(left) * stage.part / parts_left);
      if (&stage == &kStages.back()) steps = left;
      left -= steps;
      parts_left -= stage.part;
    }
    if (steps == 0) continue;
    Json phase = shared;
    phase["name"] = stage.name;
    phase["steps"] = steps;
    if (stage.ends_when_learned && steps < total_steps)
      phase["until"] = {
          {"task", "recall"}, {"accuracy", kRepeatsRight}, {"every", std::max<int64_t>(1, steps / kLooks)}};
    if (!config.explicit_keys.contains("gumbel_scale"))
      phase["gumbel_scale"] = ramp(stage.noise_from, stage.noise_to);
    phase["learning_rate"] = ramp(rate(stage.rate_from), rate(stage.rate_to));
    Json text = {{"task", "text"}, {"context", train.context}};
    if (!config.explicit_keys.contains("retrieval_dropout"))
      text["retrieval_dropout"] = ramp(stage.dropout_from, stage.dropout_to);
    if (stage.text_share > 0) {
      text["share"] = stage.text_share;
      phase["tasks"] = {text,
                        {{"task", "recall"},
                         {"recall_chunks", kParagraphChunks},
                         {"chunks", kRepeatChunks},
                         {"batch", std::max<int64_t>(1, text_tokens / repeat_tokens)},
                         {"chunk_top_k", kRepeatTopK}}};
    } else {
      phase["tasks"] = {text};
    }
    phases.push_back(phase);
  }
  return {{"phases", phases}};
}

}  // namespace gca::train
