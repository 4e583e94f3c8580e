#pragma once
// What a kind of backbone says of itself without being made: its name and settings, what its sequences and
// its past look like, what it costs. Knows no LibTorch.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/model/model_config.h"
#include "lib/model/model_cost.h"

namespace gca::model {

/// How far back results depend on the text, in positions; kWholeText where there is no end to it.
struct Reach {
  static constexpr int64_t kWholeText = int64_t{1} << 62;

  /// All layers must begin this many positions before the first whose result is wanted, where everything
  /// earlier has been run with ForwardOptions::memory_only: the result is then that of the whole text.
  int64_t upper = kWholeText;
  /// An entry of chunk memory depends on this many positions before its chunk.
  int64_t memory = 0;
  /// Nothing earlier changes a result at all.
  int64_t text = kWholeText;
};

/// What a model chooses to read, and who chooses: Past::choices() tells it.
enum class ChoiceUnit {
  none,      ///< nothing is chosen
  chunk,     ///< the landmark that ends a chunk chooses chunks for the chunk after it
  block,     ///< each position chooses blocks of chunk_size positions
  position,  ///< each position chooses positions
};

/// Whose choice an entry of Past::choices() is.
struct Reader {
  int64_t layer;  ///< among the upper layers; -1: a retrieval group, which several layers share
  int64_t place;  ///< the head, or the group
};

/// Can several ranks train on one text, each with a part of it (ForwardOptions::text_ranks)?
enum class TextSharing : uint8_t {
  none,
  in_order,  ///< rank after rank, whole chunks
  ring,      ///< as a parallel::RingScheme says
};

struct BackboneKind {
  const char* name;                       ///< the value of long_range in config.json
  const char* self_attention = "window";  ///< the value of self_attention that it goes with
  const char* help;                       ///< one line
  /// Its own keys of config.json.
  std::span<const ConfigField<ModelConfig>> fields;
  /// The last position of every chunk of chunk_size is a landmark (lib/data/chunk_layout.h).
  bool has_landmarks;
  /// Its past has chunk memory, from which it retrieves.
  bool keeps_chunk_memory;
  /// Throws Error(usage) naming the key in `where` that is out of range. What all kinds share has been
  /// checked.
  void (*validate)(const ModelConfig& config, const std::string& where);
  Reach (*reach)(const ModelConfig& config);
  /// Of a text of `context` text tokens; without embedding, final norm and logits.
  ModelCost (*cost)(const ModelConfig& config, int64_t context);
  ChoiceUnit choice_unit = ChoiceUnit::none;
  /// Those that choose, in the order of Past::choices(); null where nothing is chosen.
  std::vector<Reader> (*readers)(const ModelConfig& config) = nullptr;
  /// In training the rows of a batch see each other, so they cannot be shared out among processes.
  bool crosses_rows = false;
  TextSharing text_sharing = TextSharing::none;
};

}  // namespace gca::model
