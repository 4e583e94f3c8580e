#include "lib/generate/generator.h"

#include "tests/support/doctest.h"

#include <algorithm>
#include <set>

#include "kernels/common/philox.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "tests/support/one_batch.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_text_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

generate::Generation run(const model::TextModel& model, std::span<const int32_t> prompt,
                         const generate::GenerationOptions& options, std::string* shown = nullptr) {
  generate::TextSession session;
  return generate::generate(
      model, prompt, options, session,
      [&](const std::string& text) { shown ? * shown += text : std::string(); }, [] { return false; });
}

std::vector<int32_t> joined(std::span<const int32_t> a, std::span<const int32_t> b) {
  std::vector<int32_t> all(a.begin(), a.end());
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

/// Positions S k - 1, S k, S k + 1 and text tokens about a multiple of S - 1, with S = 8.
const std::vector<size_t> kPromptLengths = {1, 3, 6, 7, 8, 13, 14, 15, 20, 21, 22, 55, 56, 57};

}  // namespace

TEST_CASE("greedy tokens are the arg-max of one batch over the whole text") {
  for (const char* long_range : {"gca", "none"}) {
    const model::TextModel model = make_text_model(1, long_range);
    const std::vector<uint8_t> allowed = model.text_ids();
    for (const size_t length : kPromptLengths) {
      CAPTURE(long_range);
      CAPTURE(length);
      const std::vector<int32_t> prompt = prompt_of(model, length);
      generate::GenerationOptions options;
      options.sampling.temperature = 0;
      options.max_new_tokens = 30;
      options.segment_positions = 16;
      const generate::Generation generation = run(model, prompt, options);
      REQUIRE(generation.tokens.size() == 30);

      const at::Tensor logits = one_batch_logits(model.model, joined(prompt, generation.tokens));
      for (size_t i = 0; i < generation.tokens.size(); ++i) {
        CAPTURE(i);
        const at::Tensor row = logits[static_cast<int64_t>(length + i - 1)];
        double best = -1e300;
        for (int64_t id = 0; id < row.numel(); ++id)
          if (allowed[static_cast<size_t>(id)]) best = std::max(best, row[id].item<double>());
        CHECK(row[generation.tokens[i]].item<double>() >= best - 1e-4);  // equal but for rounding
      }
    }
  }
}

TEST_CASE("sampled tokens are those that one batch and the same random numbers give") {
  const model::TextModel model = make_text_model(2);
  const std::vector<int32_t> prompt = prompt_of(model, 20);
  generate::GenerationOptions options;
  options.sampling = {0.8, 40, 0.95};
  options.max_new_tokens = 40;
  options.seed = 5;
  const generate::Generation generation = run(model, prompt, options);
  const at::Tensor logits = one_batch_logits(model.model, joined(prompt, generation.tokens)).to(at::kFloat);
  for (size_t i = 0; i < generation.tokens.size(); ++i) {
    CAPTURE(i);
    const at::Tensor row = logits[static_cast<int64_t>(prompt.size() + i - 1)].contiguous();
    const double uniform = open_unit_double(philox_block(5, RandomStream::sampling, 0, i));
    CHECK(generate::sample_token({row.const_data_ptr<float>(), static_cast<size_t>(row.numel())},
                                 model.text_ids(), options.sampling, uniform) == generation.tokens[i]);
  }
}

TEST_CASE("the landmark, control pieces and ids without a piece are not text") {
  const model::TextModel model = make_text_model(3);
  const std::vector<uint8_t> is_text = model.text_ids();
  REQUIRE(is_text.size() == kPieces + 1);
  CHECK(is_text[static_cast<size_t>(model.tokenizer.landmark_id())] == 0);
  for (int32_t id = 0; id < model.tokenizer.piece_count(); ++id) {
    CAPTURE(id);
    CHECK((is_text[static_cast<size_t>(id)] != 0) == !model.tokenizer.decode({&id, 1}).empty());
  }
}

TEST_CASE("a seed decides the text, and fewer tokens are a beginning of more") {
  const model::TextModel model = make_text_model(4);
  const std::vector<int32_t> prompt = prompt_of(model, 11);
  generate::GenerationOptions options;
  options.max_new_tokens = 25;
  options.seed = 1;
  const generate::Generation first = run(model, prompt, options);
  CHECK(run(model, prompt, options).tokens == first.tokens);
  options.max_new_tokens = 9;
  CHECK(run(model, prompt, options).tokens ==
        std::vector<int32_t>(first.tokens.begin(), first.tokens.begin() + 9));
  options.seed = 2;
  CHECK(run(model, prompt, options).tokens !=
        std::vector<int32_t>(first.tokens.begin(), first.tokens.begin() + 9));
}

TEST_CASE("what is shown is the text of the tokens, and a stop text ends it") {
  const model::TextModel model = make_text_model(5);
  const std::vector<int32_t> prompt = prompt_of(model, 11);
  generate::GenerationOptions options;
  options.max_new_tokens = 40;
  std::string shown;
  const generate::Generation whole = run(model, prompt, options, &shown);
  CHECK(whole.text == model.tokenizer.decode(whole.tokens));
  CHECK(shown == whole.text);
  CHECK_FALSE(whole.stopped);
  CHECK(whole.memory_bytes > 0);

  const std::string stop = whole.text.substr(whole.text.size() / 2, 3);
  options.stop_texts = {"never comes, this", stop};
  const generate::Generation stopped = run(model, prompt, options);
  CHECK(stopped.stopped);
  CHECK(stopped.text == whole.text.substr(0, whole.text.find(stop)));
  CHECK(stopped.tokens.size() < whole.tokens.size());
}

TEST_CASE("a text ends with the end token of its model, which no other model draws") {
  model::TextModel model = make_text_model(5);
  const std::vector<int32_t> prompt = prompt_of(model, 11);
  const int32_t end = model.tokenizer.end_id();
  REQUIRE(model.tokenizer.decode({&end, 1}).empty());
  generate::GenerationOptions options;
  options.max_new_tokens = 300;
  options.sampling.temperature = 5;  // close to evenly among 340 ids
  int64_t ends = 0;
  for (options.seed = 0; options.seed < 10; ++options.seed) {
    CAPTURE(options.seed);
    model.end_token = -1;
    const std::vector<int32_t> without = run(model, prompt, options).tokens;
    CHECK(without.size() == 300);
    CHECK(std::count(without.begin(), without.end(), end) == 0);
    model.end_token = end;
    const generate::Generation with = run(model, prompt, options);
    CHECK(with.ended == (with.tokens.size() < 300 || with.tokens.back() == end));
    CHECK(std::count(with.tokens.begin(), with.tokens.end(), end) == (with.ended ? 1 : 0));
    CHECK(with.text == model.tokenizer.decode(with.tokens));
    ends += with.ended ? 1 : 0;
  }
  CHECK(ends > 0);

  // Whatever id it is, the text is the same up to there.
  options.seed = 3;
  model.end_token = -1;
  const std::vector<int32_t> whole = run(model, prompt, options).tokens;
  model.end_token = whole[20];
  const auto first = std::find(whole.begin(), whole.end(), whole[20]);
  CHECK(run(model, prompt, options).tokens == std::vector<int32_t>(whole.begin(), first + 1));
}

TEST_CASE("chunks_retrieved counts the different chunks that one batch over the whole text chooses") {
  const model::TextModel model = make_text_model(5);
  const int64_t chunk_text = model.model.config().chunk_text_size();
  for (const size_t length : {size_t{3}, size_t{6}, size_t{7}, size_t{20}, size_t{60}}) {
    for (const int64_t new_tokens : {1, 12}) {
      CAPTURE(length);
      CAPTURE(new_tokens);
      const std::vector<int32_t> prompt = prompt_of(model, length);
      generate::GenerationOptions options;
      options.max_new_tokens = new_tokens;
      const generate::Generation generation = run(model, prompt, options);

      std::set<int32_t> chunks;
      model::ForwardOptions forward;
      forward.observe = [&](const std::string& name, const at::Tensor& idx) {  // idx.g: (1, chunks, K)
        if (!name.starts_with("idx.")) return;
        for (auto j = static_cast<int64_t>(length) - 1; j < static_cast<int64_t>(length) + new_tokens - 1;
             ++j) {
          const int64_t last_landmark = (j + 1) / chunk_text - 1;
          for (int64_t k = 0; last_landmark >= 0 && k < idx.size(2); ++k)
            if (const auto chunk = idx[0][last_landmark][k].item<int32_t>(); chunk >= 0) chunks.insert(chunk);
        }
      };
      one_batch_logits(model.model, joined(prompt, generation.tokens), forward);
      CHECK(generation.chunks_retrieved == static_cast<int64_t>(chunks.size()));
      CHECK((generation.chunks_retrieved > 0) ==
            (static_cast<int64_t>(length) + new_tokens - 1 >= 2 * chunk_text));
    }
  }
}

TEST_CASE("a prompt that is read once goes on with any seed as if it had been read for each") {
  const model::TextModel model = make_text_model(6);
  const std::vector<int32_t> prompt = prompt_of(model, 100);
  generate::GenerationOptions options;
  options.segment_positions = 16;
  options.max_new_tokens = 0;
  generate::TextSession read;
  const auto show = [](const std::string&) {};
  const auto never = [] { return false; };
  generate::generate(model, prompt, options, read, show, never);
  options.max_new_tokens = 30;
  for (const uint64_t seed : {1, 2, 1}) {
    options.seed = seed;
    generate::TextSession one = read.clone();
    const generate::Generation from_clone = generate::generate(model, {}, options, one, show, never);
    const generate::Generation alone = run(model, prompt, options);
    CHECK(from_clone.tokens == alone.tokens);
    CHECK(from_clone.chunks_retrieved == alone.chunks_retrieved);
  }
}

TEST_CASE("no prompt, no new tokens, an interruption") {
  const model::TextModel model = make_text_model(6);
  const std::vector<int32_t> prompt = prompt_of(model, 5);
  generate::GenerationOptions options;
  CHECK_THROWS_AS(run(model, {}, options), Error);
  options.max_new_tokens = 0;
  CHECK(run(model, prompt, options).tokens.empty());
  options.max_new_tokens = 10;
  const auto tokens_when_asked = [&](int times) {
    int asked = 0;
    generate::TextSession session;
    return generate::generate(
               model, prompt_of(model, 20), options, session, [](const std::string&) {},
               [&] { return ++asked > times; })
        .tokens.size();
  };
  CHECK(tokens_when_asked(5) == 4);  // the first time before the only segment of the prompt
  CHECK(tokens_when_asked(0) == 0);
  options.segment_positions = 8;  // three segments
  CHECK(tokens_when_asked(5) == 2);
  CHECK(tokens_when_asked(2) == 0);
}

TEST_CASE("a prefill that is interrupted keeps a session that goes on as if it had not been") {
  const model::TextModel model = make_text_model(7);
  const std::vector<int32_t> prompt = prompt_of(model, 301);
  generate::GenerationOptions options;
  options.sampling.temperature = 0;
  options.segment_positions = 16;
  options.keeps_session = true;
  options.max_new_tokens = 12;
  const std::vector<int32_t> whole = run(model, prompt, options).tokens;
  for (const int times : {1, 2, 9, 16, 18}) {  // upper layers are left out of the first fifteen segments
    CAPTURE(times);
    generate::TextSession session;
    int asked = 0;
    CHECK(generate::generate(
              model, prompt, options, session, [](const std::string&) {}, [&] { return ++asked > times; })
              .tokens.empty());
    const auto read =
        static_cast<size_t>(layout_of(model.model.config()).text_before(session.past->position()));
    CHECK(read > 0);
    CHECK(read < prompt.size());
    CHECK(session.last_hidden.defined());
    CHECK(generate::generate(
              model, std::span(prompt).subspan(read), options, session, [](const std::string&) {},
              [] { return false; })
              .tokens == whole);
  }
}
