#pragma once
// A trained model with full attention made a RecurFormer (Yan et al. 2024): heads of upper layers whose attention
// stays near the query become Mamba, the other weights are taken over, and training goes on.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/language_model.h"

namespace gca::model {

/// Attention at distances below this is near.
constexpr int64_t kNearDistance = 64;

/// The configuration in which a model of kind recurformer, without recurrent heads, has the weights of
/// `source` and attends over the whole text in its upper layers. Throws Error(usage) naming `where` for kinds
/// whose upper layers are not attention with ALiBi in every head.
ModelConfig full_attention_config(const ModelConfig& source, const std::string& where);

/// A model of `config` with the weights of `source`, which has them by the same names and shapes.
LanguageModel with_weights_of(const LanguageModel& source, const ModelConfig& config);

/// What of a head's attention stays near, as the mean over the positions of texts.
class RecencyRatios {
 public:
  /// A model of kind recurformer without recurrent heads.
  explicit RecencyRatios(const LanguageModel& model);
  /// A text, ids (1, T) int64.
  void add(const at::Tensor& ids);
  /// Of head h of upper layer j at j H + h.
  std::vector<double> ratios() const;

 private:
  const LanguageModel& model_;
  at::Tensor near_;  // (N_up H) double, summed over positions
  int64_t positions_ = 0;
};

/// The heads with the largest ratios, `fraction` of all, ascending; the lower number first where two are
/// equal. Half a head is rounded to the even number.
std::vector<int64_t> most_recent_heads(const std::vector<double>& ratios, double fraction);

/// `model`, as RecencyRatios takes it, with `heads` made Mamba: W_in begins with their W_v, the rest of the mixer
/// as initialise(seed) draws it.
LanguageModel with_recurrent_heads(const LanguageModel& model, const std::vector<int64_t>& heads,
                                   uint64_t seed);

}  // namespace gca::model
