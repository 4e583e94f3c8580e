#include "lib/train/progress/measure_reading.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/model/backbone_kinds.h"
#include "lib/model/language_model.h"
#include "lib/train/data/batch_source.h"
#include "lib/train/data/batch_tensors.h"
#include "lib/train/progress/retrieval_diagnostics.h"

namespace gca::train {
namespace {

constexpr int64_t kMostSequences = 4;

struct Pass {
  double loss = 0.0;  ///< mean over targets
  double spread = 0.0;
};

Pass run_pass(const model::LanguageModel& model, const std::vector<data::Batch>& batches,
              model::ForwardOptions options) {
  Pass pass;
  int64_t targets_seen = 0;
  int64_t groups = 0;
  for (const data::Batch& batch : batches) {
    const auto [ids, targets] = to_tensors(batch);
    options.chunk_vectors = chunk_vectors_of(batch);
    const std::unique_ptr<model::Past> past = model.begin();
    const at::Tensor hidden = model.forward(ids, *past, options);
    pass.loss += model.loss(hidden, targets).per_target.sum(at::kDouble).item<double>();
    targets_seen += batch.target_count;
    if (options.choices != model::ChoiceDetail::all_scores) continue;
    const model::ModelConfig& config = options.config ? *options.config : model.config();
    for (const GroupDiagnostics& group : diagnose_choices(past->choices(), config.chunk_text_size())) {
      pass.spread += group.spread;
      ++groups;
    }
  }
  pass.loss /= static_cast<double>(std::max<int64_t>(targets_seen, 1));
  pass.spread /= static_cast<double>(std::max<int64_t>(groups, 1));
  return pass;
}

}  // namespace

std::optional<ReadingGain> measure_reading(const model::LanguageModel& model, const ValidationSource& source,
                                           int64_t rows, std::shared_ptr<const model::ModelConfig> config) {
  const at::NoGradGuard no_grad;
  if (!model::backbone_kind(model.config()).keeps_chunk_memory || source.measures_accuracy) return {};
  const int64_t sequences = std::min(source.sequences, kMostSequences);
  std::vector<data::Batch> batches;
  bool has_choice = false;
  for (int64_t first = 0; first < sequences; first += rows) {
    batches.push_back(source.source.batch(first, std::min(rows, sequences - first)));
    // The second chunk reads the first: a choice needs three.
    has_choice |= batches.back().length >= 3 * (config ? *config : model.config()).chunk_size;
  }
  if (!has_choice) return {};

  model::ForwardOptions options;
  options.config = std::move(config);
  options.choices = model::ChoiceDetail::all_scores;
  const Pass learned = run_pass(model, batches, options);
  options.choices = model::ChoiceDetail::last;
  options.retriever = model::Retriever::random;
  const Pass random = run_pass(model, batches, options);
  options.retriever = model::Retriever::none;
  const Pass none = run_pass(model, batches, options);
  for (const Pass& pass : {learned, random, none})
    if (!std::isfinite(pass.loss) || !std::isfinite(pass.spread)) return {};
  return ReadingGain{learned.loss, random.loss, none.loss, learned.spread, sequences};
}

}  // namespace gca::train
