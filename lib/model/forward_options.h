#pragma once
// What a forward pass may vary without changing the model.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>

#include "lib/model/model_config.h"
#include "lib/parallel/communicator.h"
#include "lib/parallel/text_shares.h"

namespace gca::model {

class StepNotes;

/// Which chunks are read; all but `learned` are for evaluation.
enum class Retriever {
  learned,  ///< the model's own choice: top K by landmark score; of models with retriever=random, drawn; with
            ///< retriever=frozen, by chunk_vectors, which are then what scores are
  random,   ///< K distinct earlier chunks, uniformly; weighted by their own scores
  recent,   ///< the K most recent candidates; weighted by their own scores
  none,     ///< nothing is read: o = 0; where positions choose, their local segment or context alone
};

/// Called with the name and value of each intermediate result: "lower.0", "h_low", "enc_out", "landmark",
/// "chunk_k", "chunk_v", "r.g", "idx.g", "w.g", "upper.j.a", "upper.j.o", "upper.j", "h_group.g", "hidden".
/// Every kind shows "lower.i.mix" and "upper.j.mix", what a layer reads before W_o; landmark attention
/// "idx.j", the blocks chosen, (B, n, H, K); rmt "memory.t", the memory that segment t begins with; longvq, in
/// training, "codes.j" (B, n, H), the codes of the keys, and "commitment.j" (), their mean squared distance.
/// Shapes are those of tests/golden/README.md, with the positions or chunks of the segment. Beside them
/// "score.g", the scores of the chosen, like "idx.g" (0 for none). "w.g" is as the model has it, before
/// weight_rounding. For tests and for finding what is not finite; Past::choices() reports what was chosen.
using Observer = std::function<void(const std::string& name, const at::Tensor& value)>;

/// How much of a run Past::choices() reports.
enum class ChoiceDetail {
  last,        ///< idx and weights of the last landmark; nothing where positions choose
  chosen,      ///< every landmark of the run, with the scores of what was chosen, or every position
  all_scores,  ///< and the scores of every chunk: a matrix of all landmarks by all chunks
};

struct ForwardOptions {
  /// The configuration of this call: the model's but for settings that may change while a model is trained
  /// (ConfigField::change). Null: the model's own. A backward pass needs no one to keep it.
  std::shared_ptr<const ModelConfig> config;
  Retriever retriever = Retriever::learned;
  bool recompute_activations = false;  ///< training: keep layer inputs only, run each layer again in backward
  bool draw_gumbel = false;            ///< training: noise from (seed, step, group, row, t, c)
  at::Tensor gumbel;                   ///< explicit noise (G, B, C, C), for tests; wins over draw_gumbel
  uint64_t seed = 0;                   ///< of drawn noise and of Retriever::random
  uint64_t step = 0;                   ///< optimizer step the noise belongs to
  double weight_rounding = 0;          ///< training: threshold of weight_rounding.h; 0: weights as they are
  int64_t silent_group = -1;           ///< training: this group reads nothing; -1: none
  double retrieval_dropout = 0;        ///< training: probability that a sequence reads nothing in any group
  int64_t batch_offset = 0;            ///< number of this batch's first row within the step
  int64_t bptt_segments =
      0;  ///< training, rmt: memory entering every so many segments is detached; 0: none is
  int64_t crossbatch_contexts = 7;  ///< training, fot: d, local contexts before its own that one sees at most
  bool crossbatch_stepping = true;  ///< training, fot: fewer of them at the beginning of a row
  bool codebook_straight_through = true;  ///< training, longvq: gradient to far keys as if scored themselves
  double commitment_weight = 0.02;        ///< training, longvq: beta, of the distance of keys to their codes
  double codebook_decay = 0.99;           ///< training, longvq: gamma, of counts and sums, from step to step
  double codebook_revival =
      0.05;  ///< training, longvq: share of the mean count below which a code starts again
  double loss_share =
      1.0;  ///< training: part of this call's loss in that of its step; of terms added to it, too
  /// Training: what a backbone gathers of the step (Backbone::begin_step()). Null: nothing is gathered.
  std::shared_ptr<StepNotes> step_notes;
  /// Training, kinds whose texts ranks can share (BackboneKind::text_sharing): each has some of the positions of each text,
  /// and a past that begins at the first of them. Rank p of N has positions p n .. (p + 1) n, n a multiple of the chunk size;
  /// with full attention those of `ring_scheme`. All ranks run alike, forward and backward. Null: whole texts.
  parallel::Communicator* text_ranks = nullptr;
  parallel::RingScheme ring_scheme = parallel::RingScheme::gather;  ///< of text_ranks, with full attention
  ChoiceDetail choices = ChoiceDetail::last;
  Observer observe;  ///< may be empty; shows all scores, too
  /// The upper layers are left out: chunk memory and the lower windows are as ever, there is no result, and
  /// what upper layers are run on later begins for them as if the text began there. No gradients.
  bool memory_only = false;
  /// Models with retriever=frozen: vectors of the chunks of each text from its first one on, (B, C, e) float32, of no
  /// fewer chunks than are closed at the end of the call (lib/data/chunk_vectors.h). Undefined for all others.
  at::Tensor chunk_vectors;
};

}  // namespace gca::model
