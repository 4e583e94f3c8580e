// Every shortcut of reading a long text gives what the plain way gives.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>

#include "lib/model/memory/memory_reader.h"
#include "lib/model/text_feeder.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr double kTolerance = 1e-4;

model::TextSource source_of(const std::vector<int32_t>& text) {
  return [&text](int64_t first, std::span<int32_t> out) {
    REQUIRE(first + static_cast<int64_t>(out.size()) <= static_cast<int64_t>(text.size()));
    std::copy_n(text.begin() + first, out.size(), out.begin());
  };
}

/// Logits (1, T, V) of all text tokens, in one batch.
at::Tensor plain_logits(const model::LanguageModel& model, const std::vector<int32_t>& text) {
  const TextBatch batch = batch_of(text, model.config());
  const at::Tensor logits = logits_in_segments(model, batch.ids, {batch.ids.size(1)});
  std::vector<at::Tensor> rows;
  for (int64_t j = 0; j < static_cast<int64_t>(text.size()); ++j)
    rows.push_back(logits.narrow(1, layout_of(model.config()).position_of(j), 1));
  return at::cat(rows, 1);
}

/// Entries of chunk memory as a plain run over the whole text makes them.
model::MemoryEntries plain_entries(const model::LanguageModel& model, const std::vector<int32_t>& text) {
  const at::NoGradGuard no_grad;
  const TextBatch batch = batch_of(text, model.config());
  const std::unique_ptr<model::Past> past = model.begin();
  model.forward(batch.ids, *past, {});
  const model::ChunkView view =
      past->memory()->read(at::arange(past->memory()->chunk_count(), at::kInt).view({1, 1, -1}));
  return {past->memory()->landmarks(), view.keys, view.values};
}

void check_same(const model::MemoryEntries& a, const model::MemoryEntries& b) {
  REQUIRE(a.keys.sizes() == b.keys.sizes());
  CHECK(largest_difference(a.landmarks, b.landmarks) <= kTolerance);
  CHECK(largest_difference(a.keys, b.keys) <= kTolerance);
  CHECK(largest_difference(a.values, b.values) <= kTolerance);
}

model::MemoryEntries all_of(const model::ChunkMemory& memory) {
  const model::ChunkView view = memory.read(at::arange(memory.chunk_count(), at::kInt).view({1, 1, -1}));
  return {memory.landmarks(), view.keys, view.values};
}

/// The tiny model with one group and more, windows of less and of more than a chunk, odd chunk sizes.
std::vector<model::ModelConfig> configs() {
  std::vector<model::ModelConfig> all;
  for (const int64_t groups : {1, 2, 3})
    for (const int64_t window : {5, 10, 21}) {
      all.push_back(tiny_config());
      all.back().retrieval_groups = groups;
      all.back().window_size = window;
    }
  for (const int64_t chunk_size : {5, 17}) {
    all.push_back(tiny_config());
    all.back().chunk_size = chunk_size;
    all.back().window_size = 7;
    all.back().n_lower_layers = 1;
    all.back().n_kv_heads = 4;
  }
  return all;
}

}  // namespace

TEST_CASE("Lazy upper layers: reading all but the end gives the logits of feeding everything") {
  for (const model::ModelConfig& config : configs()) {
    CAPTURE(config.retrieval_groups);
    CAPTURE(config.window_size);
    const model::LanguageModel model = tiny_model(config);
    for (const int64_t T : {20, 173, 301}) {
      const std::vector<int32_t> text = some_text(T, config.vocab_size);
      const at::Tensor whole = plain_logits(model, text);
      for (const int64_t wanted : {1, 30}) {
        if (wanted > T) continue;
        model::TextFeeder feeder(model, {}, 32);
        const auto tokens = std::span(text);
        const int64_t unneeded = feeder.unneeded(T, wanted);
        CHECK((unneeded > 0) == (T > 100));
        feeder.read(tokens.first(static_cast<size_t>(unneeded)));
        double largest = 0;
        feeder.feed(tokens.subspan(static_cast<size_t>(unneeded)),
                    [&](const at::Tensor& hidden, int64_t first) {
                      for (int64_t i = 0; i < hidden.size(1); ++i) {
                        if (first + i < T - wanted) continue;
                        largest = std::max(largest, largest_difference(model.logits(hidden.narrow(1, i, 1)),
                                                                       whole.narrow(1, first + i, 1)));
                      }
                    });
        CHECK(largest <= kTolerance);

        // And so is what is decoded afterwards.
        const std::vector<int32_t> more = some_text(40, config.vocab_size, 9);
        std::vector<int32_t> longer = text;
        longer.insert(longer.end(), more.begin(), more.end());
        const at::Tensor expected = plain_logits(model, longer);
        for (int64_t i = 0; i < 40; ++i)
          feeder.feed(std::span(more).subspan(static_cast<size_t>(i), 1),
                      [&](const at::Tensor& hidden, int64_t first) {
                        largest = std::max(
                            largest, largest_difference(model.logits(hidden), expected.narrow(1, first, 1)));
                      });
        CHECK(largest <= kTolerance);
      }
    }
  }
}

TEST_CASE("Lazy upper layers: the reach is not longer than it must be") {
  // What is wrong ends before what is wanted, but not long before.
  model::ModelConfig config = tiny_config();
  config.window_size = 8;
  config.init_std = 0.4;
  const model::LanguageModel model = tiny_model(config);
  const std::vector<int32_t> text = some_text(280, config.vocab_size);
  const at::Tensor whole = plain_logits(model, text);
  model::TextFeeder feeder(model, {}, 32);
  const int64_t unneeded = feeder.unneeded(280, 70);
  feeder.read(std::span(text).first(static_cast<size_t>(unneeded)));
  int64_t first_right = 0;
  feeder.feed(
      std::span(text).subspan(static_cast<size_t>(unneeded)), [&](const at::Tensor& hidden, int64_t first) {
        for (int64_t i = 0; i < hidden.size(1); ++i)
          if (largest_difference(model.logits(hidden.narrow(1, i, 1)), whole.narrow(1, first + i, 1)) >
              1e-4 * whole.abs().max().item<double>())
            first_right = first + i + 1;
      });
  CHECK(first_right <= 210);
  CHECK(first_right > 210 - 3 * config.chunk_text_size());
}

TEST_CASE("A sliding-window model may leave out its upper layers, too") {
  model::ModelConfig config = tiny_config();
  config.long_range = "none";
  const model::LanguageModel model = tiny_model(config);
  const std::vector<int32_t> text = some_text(150, config.vocab_size);
  const at::Tensor whole = plain_logits(model, text);
  model::TextFeeder feeder(model, {}, 32);
  const int64_t unneeded = feeder.unneeded(150, 1);
  CHECK(unneeded == 150 - 1 - config.n_upper_layers * config.window_size);
  feeder.read(std::span(text).first(static_cast<size_t>(unneeded)));
  at::Tensor last;
  feeder.feed(std::span(text).subspan(static_cast<size_t>(unneeded)),
              [&](const at::Tensor& hidden, int64_t) { last = hidden.narrow(1, hidden.size(1) - 1, 1); });
  CHECK(largest_difference(model.logits(last), whole.narrow(1, 149, 1)) <= kTolerance);
}

TEST_CASE("Any stretch of chunk memory can be made on its own") {
  for (const model::ModelConfig& config : configs()) {
    const model::LanguageModel model = tiny_model(config);
    const std::vector<int32_t> text = some_text(30 * config.chunk_text_size(), config.vocab_size);
    const model::MemoryEntries whole = plain_entries(model, text);
    const model::MemoryReader reader(model, source_of(text), 24);
    for (const auto& [first, end] : {std::pair(0, 30), {0, 1}, {1, 2}, {13, 30}, {29, 30}, {6, 19}}) {
      const int64_t count = end - first;
      check_same(reader.entries(first, end),
                 {whole.landmarks.narrow(1, first, count), whole.keys.narrow(1, first, count),
                  whole.values.narrow(1, first, count)});
    }
  }
}

TEST_CASE("An entry depends on the text in its reach and on nothing else, on no absolute position either") {
  for (const model::ModelConfig& config : configs()) {
    const int64_t chunk_text = config.chunk_text_size();
    const model::LanguageModel model = tiny_model(config);
    const std::vector<int32_t> tail = some_text(20 * chunk_text, config.vocab_size, 5);
    const auto entries_after = [&](int64_t chunks, uint32_t seed) {
      std::vector<int32_t> text = some_text(chunks * chunk_text, config.vocab_size, seed);
      text.insert(text.end(), tail.begin(), tail.end());
      const model::MemoryEntries all = plain_entries(model, text);
      return model::MemoryEntries{all.landmarks.narrow(1, chunks, 20), all.keys.narrow(1, chunks, 20),
                                  all.values.narrow(1, chunks, 20)};
    };
    const model::MemoryEntries one = entries_after(3, 1), other = entries_after(11, 2);
    const int64_t free = (model::reach_of(config).memory + config.chunk_size - 1) / config.chunk_size;
    REQUIRE(free < 20);
    check_same({one.landmarks.narrow(1, free, 20 - free), one.keys.narrow(1, free, 20 - free),
                one.values.narrow(1, free, 20 - free)},
               {other.landmarks.narrow(1, free, 20 - free), other.keys.narrow(1, free, 20 - free),
                other.values.narrow(1, free, 20 - free)});
    CHECK(largest_difference(one.keys.narrow(1, 0, 1), other.keys.narrow(1, 0, 1)) > 1e-3);
  }
}

TEST_CASE("Reading in parallel gives the entries of reading in order") {
  const model::LanguageModel model = tiny_model(tiny_config());
  const std::vector<int32_t> text = some_text(53 * tiny_config().chunk_text_size(), tiny_config().vocab_size);
  const model::MemoryEntries whole = plain_entries(model, text);
  for (const int threads : {1, 2, 5})
    for (const int64_t piece : {1, 7, 100}) {
      model::StoredChunkMemory memory(tiny_config(), at::kFloat, model::MemoryPlace{});
      std::vector<int64_t> seen;
      model::ReadMemoryOptions options;
      options.threads = threads;
      options.piece_chunks = piece;
      options.progress = [&](int64_t chunks) { seen.push_back(chunks); };
      model::read_memory(model, source_of(text), 53, memory, options);
      check_same(all_of(memory), whole);
      CHECK(seen.size() == static_cast<size_t>((53 + piece - 1) / piece));
      CHECK(seen.back() == 53);
    }
  model::StoredChunkMemory memory(tiny_config(), at::kFloat, model::MemoryPlace{});
  model::ReadMemoryOptions options;
  options.threads = 3;
  options.piece_chunks = 4;
  options.progress = [](int64_t) { throw std::runtime_error("stop"); };
  CHECK_THROWS_WITH(model::read_memory(model, source_of(text), 53, memory, options), "stop");
}

TEST_CASE("A patched memory is that of the changed text, and logits after it are, too") {
  const TemporaryFolder folder;
  for (const model::ModelConfig& config : configs()) {
    const int64_t chunk_text = config.chunk_text_size();
    const model::LanguageModel model = tiny_model(config);
    const int64_t chunks = 40;
    const int64_t tail = std::min<int64_t>(5, chunk_text - 1);  // no whole chunk
    const std::vector<int32_t> text = some_text(chunks * chunk_text + tail, config.vocab_size);
    for (const model::MemoryPlace& place :
         {model::MemoryPlace{}, model::MemoryPlace{.file = folder / "scratch"}}) {
      model::StoredChunkMemory memory(config, at::kFloat, place);
      model::read_memory(model, source_of(text), chunks, memory, {});
      for (const auto& [first, length] :
           {std::pair<int64_t, int64_t>{0, 3}, {chunk_text, 1}, {101, 30}, {chunks * chunk_text - 2, 2}}) {
        std::vector<int32_t> changed = text;
        for (int64_t j = first; j < first + length; ++j)
          changed[static_cast<size_t>(j)] =
              (changed[static_cast<size_t>(j)] + 1) % static_cast<int32_t>(config.vocab_size - 1);
        const model::MemoryReader reader(model, source_of(changed), 24);
        const auto patched = memory.first_chunks(chunks);
        reader.update(*patched, first, first + length);
        check_same(all_of(*patched), plain_entries(model, changed));

        const int64_t begin =
            (chunks * config.chunk_size - 1 - model::reach_of(config).upper) / config.chunk_size;
        model::TextFeeder feeder(model, {}, 24);
        feeder.start_from(reader.past_at(begin, patched->first_chunks(begin)));
        at::Tensor rows;
        feeder.feed(std::span(changed).subspan(static_cast<size_t>(begin * chunk_text)),
                    [&](const at::Tensor& hidden, int64_t) { rows = hidden; });
        const at::Tensor whole = plain_logits(model, changed);
        CHECK(largest_difference(model.logits(rows.narrow(1, rows.size(1) - tail, tail)),
                                 whole.narrow(1, chunks * chunk_text, tail)) <= kTolerance);
      }
    }
  }
}

TEST_CASE("Joined memories are read as the texts were remembered, each on its own") {
  const model::ModelConfig config = tiny_config();
  const int64_t chunk_text = config.chunk_text_size();
  const model::LanguageModel model = tiny_model(config);
  const std::vector<int32_t> a = some_text(9 * chunk_text, config.vocab_size, 3);
  const std::vector<int32_t> b = some_text(6 * chunk_text, config.vocab_size, 4);
  const std::vector<int32_t> prompt = some_text(3 * chunk_text + 2, config.vocab_size, 5);

  model::StoredChunkMemory first(config, at::kFloat, model::MemoryPlace{}),
      second(config, at::kFloat, model::MemoryPlace{});
  model::read_memory(model, source_of(a), 9, first, {});
  model::read_memory(model, source_of(b), 6, second, {});
  auto joined = std::make_unique<model::StoredChunkMemory>(config, at::kFloat, model::MemoryPlace{});
  joined->join(first);
  joined->join(second);
  std::unique_ptr<model::Past> past = model.begin(15 * config.chunk_size);
  past->keep_memory_in(std::move(joined));
  model::TextFeeder feeder(model, {}, 24);
  feeder.start_from(std::move(past));
  std::vector<at::Tensor> rows;
  feeder.feed(prompt, [&](const at::Tensor& hidden, int64_t) { rows.push_back(model.logits(hidden)); });

  // The plain way: both texts run from their beginning, what they leave in memory put into tensors by hand.
  const at::NoGradGuard no_grad;
  const model::MemoryEntries of_a = plain_entries(model, a), of_b = plain_entries(model, b);
  const std::unique_ptr<model::Past> plain = model.begin(15 * config.chunk_size);
  plain->memory()->append(at::cat({of_a.landmarks, of_b.landmarks}, 1), at::cat({of_a.keys, of_b.keys}, 1),
                          at::cat({of_a.values, of_b.values}, 1));
  const TextBatch batch = batch_of(prompt, config);
  const at::Tensor expected = model.logits(model.forward(batch.ids, *plain, {}));
  const at::Tensor got = at::cat(rows, 1);
  double largest = 0;
  for (int64_t j = 0; j < static_cast<int64_t>(prompt.size()); ++j)
    largest = std::max(largest, largest_difference(got.narrow(1, j, 1),
                                                   expected.narrow(1, layout_of(config).position_of(j), 1)));
  CHECK(largest <= kTolerance);
  // Something was read of what was joined.
  CHECK(largest_difference(got.narrow(1, chunk_text * 2, 1),
                           plain_logits(model, prompt).narrow(1, chunk_text * 2, 1)) > 1e-3);
}

TEST_CASE("int8 memory moves logits little, and bf16 memory of a bf16 model not at all") {
  const model::ModelConfig config = tiny_config();
  const std::vector<int32_t> text = some_text(200, config.vocab_size);
  const auto logits_with = [&](const model::LanguageModel& model, const model::MemoryPlace& place) {
    model::TextFeeder feeder(model, {}, 24);
    feeder.keep_memory_at(place);
    std::vector<at::Tensor> rows;
    feeder.feed(text, [&](const at::Tensor& hidden, int64_t) { rows.push_back(model.logits(hidden)); });
    return at::cat(rows, 1);
  };
  const model::LanguageModel exact = tiny_model(config);
  const at::Tensor whole = logits_with(exact, {});
  CHECK(largest_difference(whole, plain_logits(exact, text)) <= kTolerance);
  const double change = largest_difference(logits_with(exact, {.dtype = model::MemoryDtype::int8}), whole);
  CHECK(change > 0);
  CHECK(change <= 0.02 * whole.abs().max().item<double>());
  const model::LanguageModel half = tiny_model(config, at::kBFloat16);
  CHECK(at::equal(logits_with(half, {.dtype = model::MemoryDtype::bf16}),
                  logits_with(half, {.dtype = model::MemoryDtype::fp32})));
}
