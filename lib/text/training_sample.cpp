#include "lib/text/training_sample.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "lib/text/sources/document_source.h"

namespace gca::text {
namespace {

constexpr int64_t kSampleBlockBytes = int64_t{1} << 16;

/// Calls `on_text` with the text of the files piece by piece, and `on_end` after each document.
template <class OnText, class OnEnd>
void read_documents(std::span<const std::string> paths, const SourceOptions& options, const OnText& on_text,
                    const OnEnd& on_end) {
  constexpr size_t kPieceBytes = size_t{1} << 16;
  DocumentSource source(list_input_files(paths), options);
  while (source.next()) {
    for (std::string_view text = source.read(kPieceBytes); !text.empty(); text = source.read(kPieceBytes))
      on_text(text);
    on_end();
  }
}

/// Makes the sample of a text whose length is known and that comes piece by piece: all of it where it is
/// small enough, else blocks at even distances, each at a place within its stride that the seed turns.
class Sampler {
 public:
  Sampler(int64_t total_bytes, const TokenizerTraining& training) {
    const bool takes_all = total_bytes <= training.sample_bytes;
    block_count_ = takes_all ? 1 : std::max<int64_t>(1, training.sample_bytes / kSampleBlockBytes);
    block_bytes_ = takes_all ? total_bytes : std::min(kSampleBlockBytes, training.sample_bytes);
    stride_ = std::max<int64_t>(1, total_bytes / block_count_);
    shift_ = takes_all ? 0 : static_cast<int64_t>(training.seed % static_cast<uint64_t>(stride_));
  }

  /// The next text of a document.
  void add(std::string_view text) {
    while (!text.empty()) {
      if (is_block_whole_) close_piece(/*is_cut=*/true);
      if (block_ == block_count_) break;
      const int64_t begin = block_ * stride_ + shift_;
      const int64_t until = position_ < begin ? begin : begin + block_bytes_;
      const std::string_view front = text.substr(0, static_cast<size_t>(until - position_));
      if (position_ >= begin) {
        if (piece_.empty()) begins_inside_ = position_ > document_begin_;
        piece_ += front;
      }
      text.remove_prefix(front.size());
      position_ += static_cast<int64_t>(front.size());
      if (position_ == begin + block_bytes_) {
        is_block_whole_ = true;
        ++block_;
      }
    }
    position_ += static_cast<int64_t>(text.size());
  }

  /// A block that does not end within its document is cut there; its rest is the next document's.
  void end_document() {
    if (!piece_.empty()) close_piece(/*is_cut=*/false);
    document_begin_ = position_;
  }

  std::string take_sample() { return std::move(sample_); }

 private:
  /// Whole words: those that the borders cut in two are left out.
  void close_piece(bool is_cut) {
    constexpr const char* kBlank = " \t\r\n";
    std::string_view words = piece_;
    if (is_cut) words = words.substr(0, words.find_last_of(kBlank) + 1);
    if (begins_inside_) words.remove_prefix(std::min(words.find_first_of(kBlank), words.size()));
    sample_ += words;
    sample_ += '\n';
    piece_.clear();
    is_block_whole_ = false;
  }

  int64_t block_count_ = 0, block_bytes_ = 0, stride_ = 0, shift_ = 0;
  int64_t block_ = 0;           ///< the one that is being taken, or comes next
  int64_t position_ = 0;        ///< in the text of all documents
  int64_t document_begin_ = 0;  ///< position of the document
  std::string piece_;           ///< what the document gave to a block so far
  bool begins_inside_ = false;  ///< piece_ begins within its document
  bool is_block_whole_ =
      false;  ///< piece_ ends its block; whether it ends the document also is not known yet
  std::string sample_;
};

}  // namespace

std::string sample_text(std::span<const std::string> paths, const TokenizerTraining& training) {
  int64_t total_bytes = 0;
  read_documents(
      paths, training.source,
      [&](std::string_view text) { total_bytes += static_cast<int64_t>(text.size()); }, [] {});
  Sampler sampler(total_bytes, training);
  read_documents(
      paths, training.source, [&](std::string_view text) { sampler.add(text); },
      [&] { sampler.end_document(); });
  return sampler.take_sample();
}

}  // namespace gca::text
