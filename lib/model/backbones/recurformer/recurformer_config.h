#pragma once
// What recurrent heads add to a model's configuration.

#include <cstdint>
#include <vector>

namespace gca::model {

/// Plain data, part of ModelConfig. Member comments give the symbol and the key in config.json.
struct RecurformerConfig {
  std::vector<int64_t> recurrent_heads = {};  ///< j H + h of head h of upper layer j   recurrent_heads
  int64_t recurrent_state_size = 16;          ///< N                                    recurrent_state_size
  int64_t recurrent_conv_size = 4;            ///< w                                    recurrent_conv_size
  int64_t recurrent_rank = 0;                 ///< r, of the steps; 0: d / 16 rounded up   recurrent_rank
};

}  // namespace gca::model
