#include "lib/eval/prefilled_text.h"

#include <algorithm>
#include <utility>

namespace gca {
namespace {

class PlainPrefill final : public PrefilledText {
 public:
  PlainPrefill(const Drt& model, const Haystack& haystack, ForwardOptions options, int64_t segment_positions)
      : model_(model),
        haystack_(haystack),
        options_(std::move(options)),
        segment_positions_(segment_positions) {}

  TextFeeder prefill(const EditedText& text, int64_t tokens) override {
    const ModelConfig& config = model_.config();
    int64_t first = 0;
    if (!config.uses_retrieval())
      first =
          std::max<int64_t>(0, tokens - (config.n_lower_layers + config.n_upper_layers) * config.window_size);
    TextFeeder feeder(model_, options_, segment_positions_);
    while (first < tokens) {
      const int64_t count = std::min(tokens - first, feeder.room());
      feeder.feed(text.read(haystack_, first, count), [](const at::Tensor&, int64_t) {});
      first += count;
    }
    return feeder;
  }

 private:
  const Drt& model_;
  const Haystack& haystack_;
  ForwardOptions options_;
  int64_t segment_positions_;
};

}  // namespace

std::vector<int32_t> EditedText::read(const Haystack& haystack, int64_t first, int64_t count) const {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  haystack.read(haystack_first + first, tokens);
  apply_edits(edits, first, tokens);
  return tokens;
}

std::unique_ptr<PrefilledText> plain_prefill(const Drt& model, const Haystack& haystack,
                                             const ForwardOptions& options, int64_t segment_positions) {
  return std::make_unique<PlainPrefill>(model, haystack, options, segment_positions);
}

}  // namespace gca
