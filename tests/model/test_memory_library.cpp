// Libraries of chunk memory against the plain way: every text run from its beginning in one batch.

#include "lib/model/memory/memory_library.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <filesystem>

#include "lib/model/text_feeder.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_text_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr double kTolerance = 1e-4;

using Tokens = std::vector<int32_t>;

model::TextModel model_of(const model::ModelConfig& shape, uint64_t seed = 4) {
  model::TextModel model = make_text_model(seed);
  model::ModelConfig config = shape;
  config.vocab_size = model.model.config().vocab_size;
  return {"", tiny_model(config, at::kFloat, seed), std::move(model.tokenizer), 0};
}

model::LibraryText library_text(const std::string& name, const Tokens& tokens) {
  return {name, static_cast<int64_t>(tokens.size()), [tokens](int64_t first, std::span<int32_t> out) {
            std::copy_n(tokens.begin() + first, out.size(), out.begin());
          }};
}

/// Three texts: 28 chunks and a rest, less than a chunk, 11 chunks.
std::vector<model::LibraryText> some_texts(const model::TextModel& model) {
  return {library_text("one.txt", prompt_of(model, 200)), library_text("two.txt", prompt_of(model, 5)),
          library_text("shelf/three.txt", prompt_of(model, 77))};
}

Tokens tokens_of(const model::LibraryText& text, int64_t count) {
  Tokens tokens(static_cast<size_t>(count));
  text.source(0, tokens);
  return tokens;
}

model::MemoryEntries all_of(const model::ChunkMemory& memory) {
  const model::ChunkView view = memory.read(at::arange(memory.chunk_count(), at::kInt).view({1, 1, -1}));
  return {memory.landmarks(), view.keys, view.values};
}

/// What runs of each text from its beginning leave in memory, one after the other.
model::MemoryEntries plain_entries(const model::TextModel& model, std::span<const model::LibraryText> texts) {
  const at::NoGradGuard no_grad;
  const int64_t chunk_text = model.model.config().chunk_text_size();
  std::vector<at::Tensor> landmarks, keys, values;
  for (const model::LibraryText& text : texts) {
    if (text.tokens < chunk_text) continue;
    const std::unique_ptr<model::Past> past = model.model.begin();
    const Tokens tokens = tokens_of(text, text.tokens / chunk_text * chunk_text);
    model.model.forward(batch_of(tokens, model.model.config()).ids, *past, {});
    const model::MemoryEntries entries = all_of(*past->memory());
    landmarks.push_back(entries.landmarks);
    keys.push_back(entries.keys);
    values.push_back(entries.values);
  }
  return {at::cat(landmarks, 1), at::cat(keys, 1), at::cat(values, 1)};
}

void check_same(const model::MemoryEntries& a, const model::MemoryEntries& b) {
  REQUIRE(a.keys.sizes() == b.keys.sizes());
  CHECK(largest_difference(a.landmarks, b.landmarks) <= kTolerance);
  CHECK(largest_difference(a.keys, b.keys) <= kTolerance);
  CHECK(largest_difference(a.values, b.values) <= kTolerance);
}

/// Logits of all tokens of `prompt` after `past` (null: a new one), in segments.
at::Tensor logits_after(const model::TextModel& model, std::unique_ptr<model::Past> past,
                        const Tokens& prompt) {
  model::TextFeeder feeder(model.model, {}, 24);
  if (past) feeder.start_from(std::move(past));
  std::vector<at::Tensor> rows;
  feeder.feed(prompt, [&](const at::Tensor& hidden, int64_t) {
    const at::NoGradGuard no_grad;
    rows.push_back(model.model.logits(hidden));
  });
  return at::cat(rows, 1);
}

/// A past of entries that lie in plain tensors.
std::unique_ptr<model::Past> plain_past(const model::TextModel& model, const model::MemoryEntries& entries) {
  std::unique_ptr<model::Past> past =
      model.model.begin(entries.landmarks.size(1) * model.model.config().chunk_size);
  past->memory()->append(entries.landmarks, entries.keys, entries.values);
  return past;
}

double mean_loss(const at::Tensor& logits, const Tokens& prompt) {
  const at::Tensor log_sums = logits.to(at::kDouble).logsumexp(-1);
  double sum = 0;
  for (size_t j = 0; j + 1 < prompt.size(); ++j)
    sum += log_sums[0][static_cast<int64_t>(j)].item<double>() -
           logits[0][static_cast<int64_t>(j)][prompt[j + 1]].item<double>();
  return sum / static_cast<double>(prompt.size() - 1);
}

}  // namespace

TEST_CASE("A library built in parallel pieces gives the logits of texts read plainly, each on its own") {
  const TemporaryFolder folder;
  for (const int64_t groups : {1, 2})
    for (const int64_t window : {5, 21}) {
      model::ModelConfig shape = tiny_config();
      shape.retrieval_groups = groups;
      shape.window_size = window;
      const model::TextModel model = model_of(shape);
      const std::vector<model::LibraryText> texts = some_texts(model);
      const model::MemoryEntries plain = plain_entries(model, texts);
      const Tokens prompt = prompt_of(model, 45);
      const at::Tensor expected = logits_after(model, plain_past(model, plain), prompt);
      for (const auto& pair : {std::pair<int, int64_t>{1, 1}, {2, 5}, {5, 3}, {3, 100}}) {
        const auto& threads = pair.first;
        const auto& piece = pair.second;
        CAPTURE(threads);
        CAPTURE(piece);
        model::ReadMemoryOptions reading;
        reading.threads = threads;
        reading.piece_chunks = piece;
        reading.segment_positions = 24;
        model::build_library(folder / "library", model, texts, model::MemoryDtype::fp32, reading);
        const model::MemoryLibrary library = model::MemoryLibrary::open(folder / "library", model);
        const std::unique_ptr<model::Past> past = library.past(model.model, {});
        check_same(all_of(*past->memory()), plain);
        CHECK(largest_difference(logits_after(model, library.past(model.model, {}), prompt), expected) <=
              kTolerance);
      }
      // Something of it is read.
      CHECK(largest_difference(expected, logits_after(model, nullptr, prompt)) > 1e-3);
    }
}

TEST_CASE("A library knows its documents, and the tokens of every chunk") {
  const TemporaryFolder folder;
  const model::TextModel model = model_of(tiny_config());
  const std::vector<model::LibraryText> texts = some_texts(model);
  model::build_library(folder / "library", model, texts, model::MemoryDtype::int8, {});
  const model::MemoryLibrary library = model::MemoryLibrary::open(folder / "library", model);
  const model::MemoryIndex& index = library.index();
  REQUIRE(index.documents.size() == 3);
  CHECK(index.chunk_count() == 28 + 0 + 11);
  CHECK(index.dropped_tokens() == 4 + 5 + 0);
  CHECK(index.token_count() == 39 * 7);
  CHECK(index.documents[1].name == "two.txt");
  CHECK(index.documents[1].chunks == 0);
  for (int64_t chunk = 0; chunk < 39; ++chunk) {
    const model::LibraryText& text = texts[chunk < 28 ? 0 : 2];
    const model::MemoryDocument& document = index.document_of(chunk);
    CHECK(document.name == text.name);
    const int64_t first = (chunk - document.first_chunk) * 7;
    Tokens expected(7);
    text.source(first, expected);
    CHECK(library.tokens(chunk) == expected);
  }
}

TEST_CASE("Libraries joined are the texts read separately, and need their sources no more") {
  const TemporaryFolder folder;
  const model::TextModel model = model_of(tiny_config());
  const std::vector<model::LibraryText> texts = some_texts(model);
  const auto build = [&](const std::string& name, std::span<const model::LibraryText> some,
                         model::MemoryDtype dtype) {
    model::build_library(folder / name, model, some, dtype, {});
  };
  build("a", std::span(texts).first(1), model::MemoryDtype::fp32);
  build("b", std::span(texts).last(2), model::MemoryDtype::fp32);
  const std::vector<std::string> both = {folder / "a", folder / "b"};
  model::join_libraries(both, folder / "ab");
  const std::vector<std::string> again = {folder / "ab", folder / "a"};
  model::join_libraries(again, folder / "ab");  // over one of its sources
  std::filesystem::remove_all(folder / "a");
  std::filesystem::remove_all(folder / "b");

  const model::MemoryLibrary library = model::MemoryLibrary::open(folder / "ab", model);
  const std::vector<model::LibraryText> all = {texts[0], texts[1], texts[2], texts[0]};
  const model::MemoryEntries plain = plain_entries(model, all);
  const std::unique_ptr<model::Past> past = library.past(model.model, {});
  check_same(all_of(*past->memory()), plain);
  const Tokens prompt = prompt_of(model, 45);
  CHECK(
      largest_difference(logits_after(model, library.past(model.model, {.file = folder / "scratch"}), prompt),
                         logits_after(model, plain_past(model, plain), prompt)) <= kTolerance);
  CHECK(library.index().documents[3].name == "one.txt");
  CHECK(library.index().documents[3].first_chunk == 39);
  CHECK(library.tokens(39) == tokens_of(texts[0], 7));
  CHECK(library.tokens(38) == library.tokens(28 + 10));

  // Parts of several types.
  build("c", std::span(texts).last(1), model::MemoryDtype::int8);
  const std::vector<std::string> mixed = {folder / "ab", folder / "c"};
  model::join_libraries(mixed, folder / "abc");
  const model::MemoryLibrary both_types = model::MemoryLibrary::open(folder / "abc", model);
  const model::MemoryEntries got = all_of(*both_types.past(model.model, {})->memory());
  check_same({got.landmarks.narrow(1, 0, 67), got.keys.narrow(1, 0, 67), got.values.narrow(1, 0, 67)}, plain);
  const at::Tensor rows = plain.keys.narrow(1, 28, 11), restored = got.keys.narrow(1, 67, 11);
  CHECK((rows - restored).abs().le(rows.abs().amax(-1, true) / 254 + 1e-5).all().item<bool>());
}

TEST_CASE("bf16 and int8 libraries: the bound of each entry, and bits per byte within half a percent") {
  const TemporaryFolder folder;
  model::ModelConfig shape = tiny_config();
  for (const int64_t chunk_size : {5, 8, 17}) {
    shape.chunk_size = chunk_size;
    const model::TextModel model = model_of(shape);
    const std::vector<model::LibraryText> texts = some_texts(model);
    const model::MemoryEntries plain = plain_entries(model, texts);
    const Tokens prompt = prompt_of(model, 90);
    const double exact = mean_loss(logits_after(model, plain_past(model, plain), prompt), prompt);
    for (const model::MemoryDtype dtype : {model::MemoryDtype::bf16, model::MemoryDtype::int8}) {
      CAPTURE(model::name_of(dtype));
      model::build_library(folder / "library", model, texts, dtype, {});
      const model::MemoryLibrary library = model::MemoryLibrary::open(folder / "library", model);
      const model::MemoryEntries kept = all_of(*library.past(model.model, {})->memory());
      CHECK(largest_difference(kept.landmarks, plain.landmarks) <= kTolerance);
      for (const auto& [a, b] : {std::pair(kept.keys, plain.keys), std::pair(kept.values, plain.values)}) {
        const at::Tensor bound =
            dtype == model::MemoryDtype::bf16 ? b.abs() / 256 : b.abs().amax(-1, true) / 254;
        CHECK((a - b).abs().le(bound + 1e-5).all().item<bool>());
      }
      // The bytes of a text are as many as before: bits per byte move as the loss does.
      const double loss =
          mean_loss(logits_after(model, library.past(model.model, {.dtype = dtype}), prompt), prompt);
      CHECK(loss != exact);
      CHECK(std::abs(loss - exact) <= 0.005 * exact);
    }
  }
}

TEST_CASE("A library of another model, tokenizer or chunk size is refused, and so are damaged files") {
  const TemporaryFolder folder;
  const model::TextModel model = model_of(tiny_config());
  const std::vector<model::LibraryText> texts = some_texts(model);
  const std::string path = folder / "library";
  model::build_library(path, model, texts, model::MemoryDtype::fp32, {});
  const auto read_all = [&](const model::TextModel& by) {
    return all_of(*model::MemoryLibrary::open(path, by).past(by.model, {})->memory());
  };
  const model::MemoryEntries whole = read_all(model);

  CHECK(error_of([&] { read_all(model_of(tiny_config(), 5)); })->says("another model"));
  model::ModelConfig shape = tiny_config();
  shape.window_size = 11;
  CHECK(error_of([&] { read_all(model_of(shape)); })->says("another model"));
  shape = tiny_config();
  shape.chunk_size = 9;
  CHECK(error_of([&] { read_all(model_of(shape)); })->says("chunks of 8 positions, the model of 9"));
  CHECK(error_of([&] { read_all(make_text_model(4, "none")); })->says("keeps no chunk memory"));
  CHECK(error_of([&] {
          model::build_library(path, make_text_model(4, "none"), texts, model::MemoryDtype::fp32, {});
        })->says("keeps no chunk memory"));
  CHECK(error_of([&] { model::MemoryLibrary::open(folder / "nothing", model); })->is_usage());
  CHECK(error_of([&] {
          model::build_library(folder / "short", model, std::span(texts).subspan(1, 1),
                               model::MemoryDtype::fp32, {});
        })->says("no text is as long as one chunk of 7 tokens"));
  const std::string other = folder / "other";
  model::build_library(other, model_of(shape), texts, model::MemoryDtype::fp32, {});
  const std::vector<std::string> unlike = {path, other};
  CHECK(error_of([&] { model::join_libraries(unlike, folder / "joined"); })->says("chunks of 9"));
  CHECK_FALSE(std::filesystem::exists(folder / "joined"));

  for (const char* name : {"/index.json", "/part-00000.safetensors", "/part-00000.records"}) {
    const std::string content = read_file(path + name);
    for (size_t part = 0; part < 40; ++part) {  // every region of the file
      std::string damaged = content;
      const size_t place = part * (content.size() - 1) / 39;
      CAPTURE(name);
      CAPTURE(place);
      damaged[place] = static_cast<char>(damaged[place] ^ 0x10);
      write_file_atomically(path + name, damaged);
      const auto error = error_of([&] {
        const model::MemoryEntries read = read_all(model);
        // The padding of a header may change; whatever loads is what was built.
        CHECK(name == std::string("/part-00000.safetensors"));
        CHECK(at::equal(read.keys, whole.keys));
        CHECK(at::equal(read.landmarks, whole.landmarks));
      });
      if (error) CHECK(error->is_usage());
    }
    for (const size_t length : {size_t{0}, content.size() / 2, content.size() - 2}) {
      write_file_atomically(path + name, content.substr(0, length));
      CHECK(error_of([&] { read_all(model); })->is_usage());
    }
    std::filesystem::remove(path + name);
    CHECK(error_of([&] { read_all(model); })->is_usage());
    write_file_atomically(path + name, content);
  }
  // Files of another library in place of its own.
  std::filesystem::copy_file(other + "/part-00000.safetensors", path + "/part-00000.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  CHECK(error_of([&] { read_all(model); })->says("does not belong"));
  const std::vector<std::string> itself = {path};
  CHECK(error_of([&] { model::join_libraries(itself, folder / "joined"); })->says("does not belong"));
}

TEST_CASE("A library that is not finished leaves what was there") {
  const TemporaryFolder folder;
  const model::TextModel model = model_of(tiny_config());
  const std::vector<model::LibraryText> texts = some_texts(model);
  model::build_library(folder / "library", model, std::span(texts).first(1), model::MemoryDtype::fp32, {});
  model::ReadMemoryOptions stopping;
  stopping.threads = 2;
  stopping.piece_chunks = 4;
  stopping.progress = [](int64_t chunks) {
    if (chunks > 8) throw std::runtime_error("stop");
  };
  CHECK_THROWS_WITH(
      model::build_library(folder / "library", model, texts, model::MemoryDtype::fp32, stopping), "stop");
  CHECK(model::MemoryLibrary::open(folder / "library", model).index().chunk_count() == 28);
  CHECK_THROWS_WITH(model::build_library(folder / "new", model, texts, model::MemoryDtype::fp32, stopping),
                    "stop");
  CHECK_FALSE(std::filesystem::exists(folder / "new"));
  int64_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder / "")) ++entries;
  CHECK(entries == 1);
  write_file_atomically(folder / "library/mine.txt", "x");
  CHECK(error_of([&] {
          model::build_library(folder / "library", model, texts, model::MemoryDtype::fp32, {});
        })->says("mine.txt"));
}
