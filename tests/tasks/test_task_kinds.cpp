// The list of tasks: what is true of every entry, so that a new one is tested by standing in it.

#include "lib/tasks/task_kinds.h"

#include <doctest/doctest.h>

#include <numeric>
#include <set>

#include "tests/support/error_of.h"

using namespace gca;

namespace {

constexpr const char* kTokenizerPath = GCA_SOURCE_DIR "/examples/passkey/tokenizer.model";
constexpr int64_t kHaystackTokens = 3000;

data::Haystack haystack() {
  std::vector<int32_t> tokens(kHaystackTokens);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(3 + i % 7);
  return data::Haystack::of(tokens, "test");
}

tasks::TaskSite site_for(const text::Tokenizer& tokenizer) {
  tasks::TaskSite site;
  site.layout = {.chunk_size = 64, .landmark_id = tokenizer.landmark_id()};
  site.chunk_text = 63;
  site.context = 1200;
  site.tokenizer = &tokenizer;
  site.ids = tokenizer.piece_count();
  site.retrieval_groups = 2;
  site.chunk_top_k = 3;
  site.seed = 5;
  return site;
}

/// A model that reads perfectly: it predicts the answer and retrieves every chunk of the text.
tasks::TrialReading perfect_reading(const tasks::Trial& trial, int64_t chunk_text, int64_t groups) {
  std::vector<int64_t> chunks(static_cast<size_t>(trial.read_tokens / chunk_text));
  std::iota(chunks.begin(), chunks.end(), 0);
  return {std::vector(static_cast<size_t>(groups), chunks), trial.answer};
}

}  // namespace

TEST_CASE("Names, keys and flags are distinct, and every default is within its bounds") {
  std::set<std::string> names = {tasks::kTextTask, tasks::kPerplexityTask};
  std::set<std::string> keys, flags;
  size_t settings_with_flags = 0;
  for (const tasks::TaskKind* kind : tasks::task_kinds()) {
    CAPTURE(std::string(kind->name));
    CHECK(names.insert(kind->name).second);
    CHECK(tasks::find_task_kind(kind->name) == kind);
    CHECK((kind->make_sequences != nullptr || kind->make_trials != nullptr));
  }
  for (const tasks::TaskSetting* setting : tasks::all_task_settings()) {
    CAPTURE(std::string(setting->key));
    CHECK(keys.insert(setting->key).second);
    CHECK(tasks::find_task_setting(setting->key) == setting);
    if (setting->flag != nullptr) {
      ++settings_with_flags;
      CHECK(std::string(setting->flag).starts_with("--"));
      flags.insert(setting->flag);
    }
    CHECK(setting->default_value >= setting->least);
    CHECK(setting->default_value <= setting->most);
    CHECK((!setting->is_switch || setting->most == 1));
  }
  CHECK(flags.size() == settings_with_flags);
  CHECK(tasks::find_task_kind("passkeys") == nullptr);
  CHECK(tasks::find_task_setting("hidden_size") == nullptr);
}

TEST_CASE("Sequences to train on are functions of their number, with targets, within the context") {
  const text::Tokenizer tokenizer = text::Tokenizer::load(kTokenizerPath);
  const tasks::TaskSite site = site_for(tokenizer);
  for (const tasks::TaskKind* kind : tasks::task_kinds()) {
    if (kind->make_sequences == nullptr) continue;
    CAPTURE(std::string(kind->name));
    const auto sequences = kind->make_sequences(site);
    const data::Batch both = sequences->batch(4, 2, haystack());
    const data::Batch second = kind->make_sequences(site)->batch(5, 1, haystack());
    REQUIRE(both.rows == 2);
    REQUIRE(static_cast<int64_t>(both.ids.size()) == 2 * both.length);
    CHECK(both.target_count > 0);
    CHECK(both.text_tokens <= 2 * sequences->context());
    CHECK(std::equal(second.ids.begin(), second.ids.end(), both.ids.begin() + both.length));
    CHECK(std::equal(second.targets.begin(), second.targets.end(), both.targets.begin() + both.length));
    CHECK(sequences->batch(4, 1, haystack()).ids != second.ids);
    if (kind->takes_context) CHECK(sequences->context() == site.context);
    // Other settings are other sequences, and say so.
    for (const tasks::TaskSetting* setting : kind->settings) {
      tasks::TaskSite other = site;
      other.settings.set(*setting,
                         setting->is_switch ? 1 - setting->default_value : setting->default_value + 1);
      if (other.settings[*setting] > setting->most || std::string(setting->key) == "needle_questions")
        continue;
      CHECK_MESSAGE(kind->make_sequences(other)->fingerprint() != sequences->fingerprint(), setting->key);
    }
  }
}

TEST_CASE("Who reads perfectly is always right, who reads nothing never") {
  const text::Tokenizer tokenizer = text::Tokenizer::load(kTokenizerPath);
  const tasks::TaskSite site = site_for(tokenizer);
  const data::Haystack hay = haystack();
  for (const tasks::TaskKind* kind : tasks::task_kinds()) {
    if (kind->make_trials == nullptr) continue;
    CAPTURE(std::string(kind->name));
    const auto trials = kind->make_trials(site, hay);
    const auto blind_trials = kind->make_trials(site, hay);
    for (int64_t number = 0; number < 20; ++number) {
      const tasks::Trial trial = trials->begin(number, 17 * number);
      CHECK(trial.haystack_first == 17 * number);
      CHECK(trial.text_tokens <= site.context);
      CHECK(trial.read_tokens % site.chunk_text == 0);
      CHECK((trial.answer.empty() || trial.first_answer > trial.read_tokens));
      const tasks::TrialOutcome outcome = trials->score(perfect_reading(trial, site.chunk_text, 2));
      CHECK(outcome.is_correct);
      CHECK(outcome.first >= 0);
      CHECK(outcome.first < outcome.room);
      CHECK(outcome.room <= trial.read_tokens);

      tasks::TrialReading blind{{{}, {}}, {}};
      blind_trials->begin(number, 17 * number);
      for (const int32_t id : trial.answer) blind.predicted.push_back(id + 1);
      CHECK(!blind_trials->score(blind).is_correct);
    }
    const std::string row = trials->row();
    CHECK_MESSAGE(row.starts_with("100.0 %"), row);
    CHECK(blind_trials->row().starts_with("  0.0 %"));
    CHECK(trials->head().find('\n') == std::string::npos);
    CHECK(trials->to_json().is_object());
  }
}

TEST_CASE("Errors name the setting as it was given: by its key, or by its flag") {
  const text::Tokenizer tokenizer = text::Tokenizer::load(kTokenizerPath);
  for (const tasks::TaskKind* kind : tasks::task_kinds()) {
    for (const tasks::TaskSetting* setting : kind->settings) {
      CAPTURE(std::string(setting->key));
      tasks::TaskSettings settings;
      settings.set(*setting, setting->most + 1);
      const tasks::TaskSetting* const only[] = {setting};
      const auto by_key = error_of(
          [&] { tasks::validate_task_settings(settings, only, tasks::SettingNames::keys, "a.json"); });
      REQUIRE(by_key.has_value());
      CHECK(by_key->says("a.json"));
      CHECK(by_key->says(setting->key));
      if (setting->flag == nullptr) continue;
      const auto by_flag =
          error_of([&] { tasks::validate_task_settings(settings, only, tasks::SettingNames::flags, ""); });
      REQUIRE(by_flag.has_value());
      CHECK(by_flag->says(setting->flag));
      CHECK(!by_flag->says(setting->key));
    }
    if (kind->make_trials == nullptr) continue;
    tasks::TaskSite site = site_for(tokenizer);
    site.names = tasks::SettingNames::flags;
    site.context = 100;
    const data::Haystack hay = haystack();
    const auto error = error_of([&] { kind->make_trials(site, hay)->begin(0, 0); });
    REQUIRE(error.has_value());
    CHECK(error->says(std::string("--task ") + kind->name));
    CHECK(error->says("longer --context"));
  }
}
