#include "lib/model/model_cost.h"

#include <algorithm>

#include "lib/model/backbone_kinds.h"

namespace gca::model {

double mean_window(double T, double W) {
  if (T <= W + 1) return (T + 1) / 2;
  return ((W + 1) * (W + 2) / 2 + (T - W - 1) * (W + 1)) / T;
}

ModelCost& ModelCost::operator+=(const ModelCost& other) {
  parameters += other.parameters;
  multiply_adds += other.multiply_adds;
  decoding_weights += other.decoding_weights;
  decoding_rows += other.decoding_rows;
  decoding_elements += other.decoding_elements;
  decoding_bytes += other.decoding_bytes;
  return *this;
}

ModelCost decoder_layers_cost(const ModelConfig& config, int64_t layers, const KeysRead& keys) {
  const auto d = static_cast<double>(config.d_model);
  const auto n = static_cast<double>(layers);
  const double products = 4 * d * d + 3 * d * static_cast<double>(config.ff_size());
  ModelCost cost;
  cost.parameters = n * (products + 2 * d);  // and two norms
  cost.multiply_adds = n * (products + 2 * keys.mean * d);
  cost.decoding_weights = n * products;
  cost.decoding_rows = n * (5 * d + 2 * static_cast<double>(config.ff_size()));
  cost.decoding_elements = n * 2 * keys.at_end * d;
  return cost;
}

ModelCost window_layers_cost(const ModelConfig& config, int64_t layers, int64_t context) {
  const auto T = static_cast<double>(context);
  const auto W = static_cast<double>(config.window_size);
  return decoder_layers_cost(config, layers, {.mean = mean_window(T, W), .at_end = std::min(W, T)});
}

ModelCost model_cost(const ModelConfig& config, int64_t context) {
  const auto d = static_cast<double>(config.d_model);
  const double embedding = static_cast<double>(config.vocab_size) * d;  // also the output projection
  ModelCost cost = backbone_kind(config).cost(config, context);
  cost += {.parameters = embedding + d,
           .multiply_adds = embedding,
           .decoding_weights = embedding,
           .decoding_rows = static_cast<double>(config.vocab_size)};
  return cost;
}

double parameter_count(const ModelConfig& config) {
  return model_cost(config, /*context=*/1).parameters;
}

}  // namespace gca::model
