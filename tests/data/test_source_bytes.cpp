// Bytes of source text against those that SentencePiece itself says each piece stands for.

#include "lib/data/source_bytes.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "tests/text/small_models.h"

using namespace gca;

namespace {

/// Bytes of the text behind each piece, by SentencePiece's own alignment.
std::vector<int64_t> aligned_bytes(const std::string& model, const std::string& text) {
  sentencepiece::SentencePieceProcessor processor;
  REQUIRE(processor.LoadFromSerializedProto(model).ok());
  std::vector<int64_t> bytes;
  const auto encoded = processor.EncodeAsImmutableProto(text);
  for (const auto& piece : encoded.pieces()) bytes.push_back(static_cast<int64_t>(piece.surface().size()));
  return bytes;
}

data::DocumentBytes count(const data::PieceBytes& pieces, std::span<const int32_t> ids,
                          const std::string& text) {
  return data::count_piece_bytes(pieces, static_cast<int64_t>(ids.size()), static_cast<int64_t>(text.size()),
                                 [&](int64_t first, std::span<int32_t> out) {
                                   std::copy_n(ids.begin() + first, out.size(), out.begin());
                                 });
}

int64_t piece_bytes_of(const data::PieceBytes& pieces, std::span<const int32_t> ids) {
  int64_t bytes = 0;
  for (const int32_t id : ids) bytes += pieces.of_id.at(static_cast<size_t>(id));
  return bytes;
}

}  // namespace

TEST_CASE("a tokenizer that rewrites text: the bytes of all its tokens are those of the text") {
  const struct {
    const char* name;
    std::unordered_map<std::string, std::string> settings;
  } cases[] = {
      {"NFKC, a space before, spaces joined", {{"vocab_size", "400"}, {"byte_fallback", "true"}}},
      {"a space before",
       {{"vocab_size", "320"}, {"byte_fallback", "true"}, {"normalization_rule_name", "identity"}}},
      {"unigram", {{"vocab_size", "60"}, {"model_type", "unigram"}}},
  };
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += i % 4 == 3 ? "\xEF\xBD\x83\xEF\xBD\x81\xEF\xBD\x94   and " : "the dog sat  on the mat ";
  for (const auto& one : cases) {
    CAPTURE(one.name);
    const bool rewrites = one.settings.contains("normalization_rule_name") == false;
    // Wide letters are those of the alphabet to NFKC, and unknown to who leaves them as they are.
    const std::string own = rewrites ? text : "the dog   sat on   the mat";
    const std::string model = foreign_model(one.settings);
    const text::Tokenizer tokenizer = text::Tokenizer::from_serialized(model, "test");
    const data::PieceBytes pieces = data::PieceBytes::of(tokenizer);
    REQUIRE_FALSE(pieces.is_exact);
    const std::vector<int32_t> ids = tokenizer.encode(own);
    const std::vector<int64_t> aligned = aligned_bytes(model, own);
    REQUIRE(aligned.size() == ids.size());
    const data::DocumentBytes bytes = count(pieces, ids, own);
    REQUIRE(bytes.unknown_tokens == 0);
    CHECK(bytes.pieces != static_cast<int64_t>(own.size()));
    CHECK(bytes.source_scale() * static_cast<double>(piece_bytes_of(pieces, ids)) ==
          doctest::Approx(static_cast<double>(own.size())));
    // Of what is predicted, all but the first token: but for how much that one is scaled.
    const double predicted =
        bytes.source_scale() * static_cast<double>(piece_bytes_of(pieces, std::span(ids).subspan(1)));
    CHECK(std::abs(predicted - static_cast<double>(static_cast<int64_t>(own.size()) - aligned.front())) <= 3);
  }
}

TEST_CASE("a lossless tokenizer needs no scale, and its tokens are never unknown") {
  const data::PieceBytes pieces = data::PieceBytes::of(trained_tokenizer());
  CHECK(pieces.is_exact);
  CHECK(pieces.unknown_id == -1);
  const std::string text = "Alice \xE6\xB2\xB3 was\n\nbeginning \xFF";
  const std::vector<int32_t> ids = trained_tokenizer().encode(text);
  CHECK(piece_bytes_of(pieces, ids) == static_cast<int64_t>(text.size()));
  CHECK(count(pieces, ids, text).source_scale() == 1.0);
}

TEST_CASE("where unknown tokens stand for text there is no scale") {
  const std::string model = foreign_model({{"vocab_size", "60"}, {"model_type", "unigram"}});
  const text::Tokenizer tokenizer = text::Tokenizer::from_serialized(model, "test");
  const data::PieceBytes pieces = data::PieceBytes::of(tokenizer);
  std::string text;
  for (int i = 0; i < 200; ++i) text += "\xE6\xB2\xB3\xE7\x81\xAF";
  text += " the cat";
  const std::vector<int32_t> ids = tokenizer.encode(text);
  const data::DocumentBytes lost = count(pieces, ids, text);
  CHECK(lost.unknown_tokens == 1);
  CHECK(std::isnan(lost.source_scale()));
  const std::string known = "the cat sat";
  data::DocumentBytes both = count(pieces, tokenizer.encode(known), known);
  CHECK_FALSE(std::isnan(both.source_scale()));
  both += lost;
  CHECK(std::isnan(both.source_scale()));
}
