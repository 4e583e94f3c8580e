#pragma once
// What a model takes, computed from its configuration alone: nothing is allocated to find out, and settings
// that no machine can hold do not overflow. Knows no LibTorch.

#include <cstdint>

#include "lib/model/model_config.h"

namespace gca::model {

/// Sums over the parts of a model. Work and traffic are those of a text of a given number of text tokens:
/// its mean for a forward pass over the whole, its end for decoding.
struct ModelCost {
  double parameters = 0;
  /// Useful multiply-adds of one text token in the forward pass: matrix products and attention. Landmarks,
  /// recomputation, norms and activations are not counted.
  double multiply_adds = 0;
  /// What decoding one text token must read: weights once, and the rows that they stand in.
  double decoding_weights = 0;
  double decoding_rows = 0;
  /// Numbers of the compute type: the windows' keys and values, what is retrieved.
  double decoding_elements = 0;
  /// Bytes that it must read beside them, whatever the compute type.
  double decoding_bytes = 0;

  /// Two FLOPs a multiply-add; training costs three times as much.
  double forward_flops() const { return 2 * multiply_adds; }
  /// With so many bytes a number of the compute type, a weight, and beside the weights of a row.
  double decoding_bytes_per_token(double element_bytes, double weight_bytes, double row_bytes) const {
    return decoding_elements * element_bytes + decoding_weights * weight_bytes + decoding_rows * row_bytes +
           decoding_bytes;
  }
  ModelCost& operator+=(const ModelCost& other);
};

/// Of the whole model at a context of so many text tokens.
ModelCost model_cost(const ModelConfig& config, int64_t context);

/// Weights of the model, the same number as LanguageModel::parameter_count().
double parameter_count(const ModelConfig& config);

/// Of positions 0 to T-1, each seeing itself and at most W before it: the mean number of positions seen.
double mean_window(double T, double W);

/// What an attention reads of earlier positions.
struct KeysRead {
  double mean = 0;    ///< keys of a position, the mean over a text
  double at_end = 0;  ///< of which decoding reads key and value, at the end of it
};

/// Parts that kinds have in common: `layers` decoder layers of attention and SwiGLU.
ModelCost decoder_layers_cost(const ModelConfig& config, int64_t layers, const KeysRead& keys);
/// The same where it is the sliding window alone: `layers` decoder layers of sliding-window attention and
/// SwiGLU.
ModelCost window_layers_cost(const ModelConfig& config, int64_t layers, int64_t context);

}  // namespace gca::model
