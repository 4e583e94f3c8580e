#include "lib/tasks/needles/needle_task.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/size_suffix.h"
#include "lib/tasks/task_random.h"

namespace gca::tasks {
namespace {

using Tokens = std::vector<int32_t>;

void append(Tokens& tokens, const Tokens& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

int64_t size_of(const Tokens& tokens) {
  return static_cast<int64_t>(tokens.size());
}

/// Whether a question names the needle that it asks for; else there is one.
bool has_keys(NeedleKind kind) {
  return kind == NeedleKind::multikey || kind == NeedleKind::multihop;
}

/// A needle before it has a place.
struct Needle {
  Tokens tokens;
  TokenSpan value;  ///< within `tokens`
};

/// What is asked: the question's variable part, its answer, and the needles that hold it.
struct Riddle {
  Tokens key;
  Tokens answer;
  std::vector<size_t> needles;
};

struct Plan {
  std::vector<Needle> needles;
  std::vector<Riddle> riddles;
};

/// Draws the random parts of one text.
class Planner {
 public:
  Planner(const NeedleSettings& settings, const NeedlePhrases& phrases, TaskRandom& random)
      : settings_(settings), phrases_(phrases), random_(random) {}

  Plan plan() {
    switch (settings_.kind) {
      case NeedleKind::passkey:
      case NeedleKind::number:
        plan_passkey();
        break;
      case NeedleKind::multikey:
        for (int64_t i = 0; i <= settings_.distractors; ++i) plan_key();
        break;
      case NeedleKind::multihop:
        for (int64_t i = 0; i <= settings_.distractors; ++i) plan_chain();
        break;
    }
    // Places are drawn afterwards, so which riddles are asked needs no draw.
    if (!has_keys(settings_.kind))
      plan_.riddles.resize(static_cast<size_t>(settings_.questions), plan_.riddles.front());
    else
      plan_.riddles.resize(static_cast<size_t>(settings_.questions));
    return std::move(plan_);
  }

 private:
  Tokens draw(int64_t count) {
    Tokens tokens;
    for (int64_t i = 0; i < count; ++i)
      tokens.push_back(phrases_.value_ids[static_cast<size_t>(random_.below(size_of(phrases_.value_ids)))]);
    return tokens;
  }

  /// A key that no other needle of this text has.
  Tokens draw_key() {
    for (;;)
      if (Tokens key = draw(settings_.key_tokens); keys_.insert(key).second) return key;
  }

  size_t add_needle(const Tokens& before, const Tokens& value) {
    Needle needle;
    needle.tokens = before;
    needle.value = {size_of(before), size_of(value)};
    append(needle.tokens, value);
    append(needle.tokens, phrases_.close);
    plan_.needles.push_back(std::move(needle));
    return plan_.needles.size() - 1;
  }

  void plan_passkey() {
    const Tokens value = draw(settings_.value_tokens);
    plan_.riddles.push_back({{}, value, {add_needle(phrases_.open, value)}});
  }

  void plan_key() {
    const Tokens key = draw_key();
    const Tokens value = draw(settings_.value_tokens);
    plan_.riddles.push_back({key, value, {add_needle(joined(key), value)}});
  }

  void plan_chain() {
    Tokens from = draw_key();
    Riddle riddle{from, {}, {}};
    for (int64_t hop = 0; hop < settings_.hops; ++hop) {
      const Tokens to = draw_key();
      riddle.needles.push_back(add_needle(joined(from), to));
      if (hop > 0) append(riddle.answer, phrases_.link);
      append(riddle.answer, to);
      from = to;
    }
    plan_.riddles.push_back(std::move(riddle));
  }

  /// open KEY link
  Tokens joined(const Tokens& key) const {
    Tokens tokens = phrases_.open;
    append(tokens, key);
    append(tokens, phrases_.link);
    return tokens;
  }

  const NeedleSettings& settings_;
  const NeedlePhrases& phrases_;
  TaskRandom& random_;
  Plan plan_;
  std::set<Tokens> keys_;
};

/// Begins of pieces of these lengths at uniform places of [0, room), in random order and without overlap.
std::vector<int64_t> draw_places(const std::vector<Needle>& needles, int64_t room, TaskRandom& random) {
  int64_t free = room;
  for (const Needle& needle : needles) free -= size_of(needle.tokens);
  std::vector<int64_t> gaps;
  std::vector<size_t> order;
  for (size_t i = 0; i < needles.size(); ++i) {
    gaps.push_back(random.below(free + 1));
    order.push_back(i);
  }
  std::sort(gaps.begin(), gaps.end());
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
  std::vector<int64_t> places(needles.size());
  int64_t taken = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    places[order[i]] = gaps[i] + taken;
    taken += size_of(needles[order[i]].tokens);
  }
  return places;
}

/// Where questions and answers stand, in text tokens.
struct QuestionLayout {
  int64_t prompt = 0;  ///< tokens of a question
  int64_t answer = 0;
  int64_t lead = 0;     ///< chunks by which it stands earlier a first time
  int64_t spacing = 0;  ///< chunks from one answer to the next

  static QuestionLayout of(const NeedleSettings& settings, const NeedlePhrases& phrases) {
    QuestionLayout layout;
    layout.prompt = size_of(phrases.ask) + size_of(phrases.answer);
    layout.answer = settings.value_tokens;
    if (has_keys(settings.kind)) layout.prompt += settings.key_tokens;
    if (settings.kind == NeedleKind::multihop) {
      layout.lead = 1;
      layout.answer = settings.hops * settings.key_tokens + (settings.hops - 1) * size_of(phrases.link);
    }
    const int64_t block = layout.prompt + layout.answer + layout.lead * settings.chunk_text;
    layout.spacing = (block + settings.chunk_text - 1) / settings.chunk_text;
    return layout;
  }
};

void check(const NeedleSettings& settings, const NeedlePhrases& phrases) {
  const std::string where = task_place(name_of(settings.kind), settings.names);
  const auto require = [&](bool holds, const std::string& what, const std::string& remedy) {
    if (!holds) fail_usage(where, what, remedy);
  };
  const auto name = [&](const TaskSetting& setting) { return name_of(setting, settings.names); };
  require(settings.chunk_text > 0, "the chunks have no text", "raise chunk_size");
  const std::pair<const TaskSetting&, int64_t> counts[] = {{kNeedleValueTokens, settings.value_tokens},
                                                           {kNeedleKeyTokens, settings.key_tokens},
                                                           {kNeedleDistractors, settings.distractors},
                                                           {kNeedleHops, settings.hops},
                                                           {kNeedleQuestions, settings.questions}};
  for (const auto& [setting, count] : counts)
    require(count >= setting.least && count <= setting.most, fmt::format("{} is {}", name(setting), count),
            fmt::format("give {} to {}", setting.least, size_text(setting.most)));
  require(!has_keys(settings.kind) || settings.questions <= settings.distractors + 1,
          "there are more questions than needles to ask for", "raise " + name(kNeedleDistractors));
  // Keys are drawn until they differ: leave enough to draw from.
  const int64_t keys = settings.kind == NeedleKind::multihop
                           ? (settings.distractors + 1) * (settings.hops + 1)
                       : settings.kind == NeedleKind::multikey ? settings.distractors + 1
                                                               : 1;
  require(keys <= kMostOfATaskSetting, fmt::format("{} keys are out of range", keys),
          fmt::format("lower {} or {}", name(kNeedleDistractors), name(kNeedleHops)));
  require(settings.key_tokens > 1 || 2 * keys <= size_of(phrases.value_ids),
          fmt::format("{} keys of one token are too many for {} ids", keys, phrases.value_ids.size()),
          "raise " + name(kNeedleKeyTokens));
  const QuestionLayout layout = QuestionLayout::of(settings, phrases);
  require(
      layout.lead == 0 || layout.prompt <= settings.chunk_text + 1,
      fmt::format("a question of {} tokens does not fit a chunk of {}", layout.prompt, settings.chunk_text),
      "lower " + name(kNeedleKeyTokens) + ", or use a model of larger chunk_size");
}

}  // namespace

NeedleTask::NeedleTask(NeedleSettings settings, NeedlePhrases phrases)
    : settings_(settings), phrases_(std::move(phrases)) {
  check(settings_, phrases_);
}

int64_t NeedleTask::answer_tokens() const {
  return QuestionLayout::of(settings_, phrases_).answer;
}

int64_t NeedleTask::chunks_within(int64_t context) const {
  return (context - 1 - answer_tokens()) / settings_.chunk_text;
}

NeedleText NeedleTask::text(int64_t number, int64_t chunks, int64_t haystack_tokens,
                            std::optional<int64_t> haystack_first) const {
  const QuestionLayout layout = QuestionLayout::of(settings_, phrases_);
  TaskRandom random(settings_.seed, number);
  NeedleText text;
  text.haystack_first = haystack_first ? *haystack_first : random.below(haystack_tokens);
  const Plan plan = Planner(settings_, phrases_, random).plan();

  // Chunk of the first answer. The landmark before it, or `lead` more, must have every needle as a candidate:
  // needles end before that landmark's own chunk.
  const int64_t first_chunk = chunks - (settings_.questions - 1) * layout.spacing;
  const int64_t first_block = (first_chunk - layout.lead) * settings_.chunk_text - (layout.prompt - 1);
  text.needle_room = std::min(first_block, (first_chunk - 1 - layout.lead) * settings_.chunk_text);
  int64_t needed = 0;
  for (const Needle& needle : plan.needles) needed += size_of(needle.tokens);
  if (text.needle_room < needed)
    fail_usage(task_place(name_of(settings_.kind), settings_.names),
               fmt::format("{} chunks of {} text tokens leave no room for {} tokens of needles",
                           std::max<int64_t>(chunks + 1, 0), settings_.chunk_text, needed),
               std::string("give a longer ") + context_name(settings_.names));

  const std::vector<int64_t> places = draw_places(plan.needles, text.needle_room, random);
  for (size_t i = 0; i < places.size(); ++i) text.edits.push_back({places[i], plan.needles[i].tokens});
  for (int64_t j = 0; j < settings_.questions; ++j) {
    const Riddle& riddle = plan.riddles[static_cast<size_t>(j)];
    Tokens prompt = phrases_.ask;
    append(prompt, riddle.key);
    append(prompt, phrases_.answer);
    const int64_t answer_chunk = first_chunk + j * layout.spacing;
    NeedleQuestion question;
    question.prompt_tokens = layout.prompt;
    question.first_answer = answer_chunk * settings_.chunk_text + 1;
    question.answer = riddle.answer;
    for (const size_t needle : riddle.needles)
      question.values.push_back(
          {places[needle] + plan.needles[needle].value.first, plan.needles[needle].value.tokens});
    for (int64_t lead = layout.lead; lead > 0; --lead)
      text.edits.push_back({question.first_answer - layout.prompt - lead * settings_.chunk_text,
                            Tokens(prompt.begin(), prompt.end() - 1)});
    append(prompt, riddle.answer);
    text.edits.push_back({question.first_answer - layout.prompt, prompt});
    text.questions.push_back(std::move(question));
  }
  std::sort(text.edits.begin(), text.edits.end(),
            [](const data::TextEdit& a, const data::TextEdit& b) { return a.first < b.first; });
  text.text_tokens = text.edits.back().end();
  return text;
}

std::vector<int32_t> tokens_of(const NeedleText& text, const data::Haystack& haystack) {
  std::vector<int32_t> tokens(static_cast<size_t>(text.text_tokens));
  haystack.read(text.haystack_first, tokens);
  data::apply_edits(text.edits, 0, tokens);
  return tokens;
}

data::Batch NeedleTask::batch(int64_t first, int64_t rows, int64_t chunks, const data::Haystack& haystack,
                              const data::ChunkLayout& layout) const {
  data::Batch batch;
  batch.rows = rows;
  for (int64_t row = 0; row < rows; ++row) {
    const NeedleText text = this->text(first + row, chunks, haystack.token_count());
    data::LaidOutText laid_out = data::lay_out(tokens_of(text, haystack), data::kNoTarget, layout);
    batch.length = static_cast<int64_t>(laid_out.ids.size());
    if (!settings_.text_targets) {
      std::vector<int64_t> answers(laid_out.targets.size(), data::kNoTarget);
      for (const NeedleQuestion& question : text.questions)
        for (int64_t i = 0; i < size_of(question.answer); ++i) {
          const auto position = static_cast<size_t>(layout.position_of(question.first_answer + i - 1));
          answers[position] = laid_out.targets[position];
        }
      laid_out.targets = std::move(answers);
    }
    batch.ids.insert(batch.ids.end(), laid_out.ids.begin(), laid_out.ids.end());
    batch.targets.insert(batch.targets.end(), laid_out.targets.begin(), laid_out.targets.end());
    batch.text_tokens += text.text_tokens;
  }
  batch.target_count = static_cast<int64_t>(std::count_if(batch.targets.begin(), batch.targets.end(),
                                                          [](int64_t id) { return id != data::kNoTarget; }));
  return batch;
}

std::string NeedleTask::fingerprint() const {
  std::string words;
  for (const Tokens* phrase : {&phrases_.open, &phrases_.link, &phrases_.close, &phrases_.ask,
                               &phrases_.answer, &phrases_.value_ids}) {
    for (const int32_t id : *phrase) words += std::to_string(id) + " ";
    words += "\n";
  }
  return fmt::format(
      "{}/1 chunk_text={} value={} key={} distractors={} hops={} questions={} text_targets={} "
      "words={:.16}",
      name_of(settings_.kind), settings_.chunk_text, settings_.value_tokens, settings_.key_tokens,
      settings_.distractors, settings_.hops, settings_.questions, settings_.text_targets, sha256_hex(words));
}

}  // namespace gca::tasks
