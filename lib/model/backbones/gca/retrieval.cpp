#include "lib/model/backbones/gca/retrieval.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <span>
#include <vector>

#include "kernels/common/philox.h"
#include "kernels/gumbel_noise/gumbel_noise.h"
#include "kernels/landmark_topk/landmark_search.h"
#include "kernels/landmark_topk/landmark_topk.h"
#include "lib/core/error.h"
#include "lib/model/backbones/gca/gca_kind.h"
#include "lib/model/backbones/gca/weight_rounding.h"

namespace gca::model {
namespace {

at::Tensor draw_noise(const at::Tensor& scores, uint64_t seed, int64_t first_chunk, int64_t group,
                      const ForwardOptions& options) {
  const kernels::GumbelCoordinates coordinates{.seed = seed,
                                               .step = options.step,
                                               .group = group,
                                               .batch_offset = options.batch_offset,
                                               .first_query = first_chunk};
  return kernels::gumbel_noise(coordinates, scores.size(0), scores.size(1), scores.size(2), scores.device())
      .to(scores.scalar_type());
}

bool draws_chunks(const ModelConfig& config) {
  return config.retriever == "random";
}

bool is_frozen(const ModelConfig& config) {
  return config.retriever == kFrozenRetriever;
}

/// The top K of pure noise is a uniform choice.
at::Tensor draw_chunks(const at::Tensor& scores, uint64_t seed, int64_t first_chunk, int64_t group, int64_t K,
                       const ForwardOptions& options) {
  return kernels::landmark_topk(draw_noise(scores, seed, first_chunk, group, options), {}, first_chunk, K);
}

at::Tensor choose(const at::Tensor& scores, int64_t first_chunk, int64_t group, const ModelConfig& config,
                  const ForwardOptions& options) {
  const int64_t K = config.chunk_top_k;
  const Retriever retriever = group == options.silent_group ? Retriever::none : options.retriever;
  switch (retriever) {
    case Retriever::none:
      return at::full({scores.size(0), scores.size(1), K}, -1,
                      scores.options().requires_grad(false).dtype(at::kInt));
    case Retriever::recent: {
      const at::Tensor recency = at::arange(scores.size(2), scores.options().requires_grad(false));
      return kernels::landmark_topk(recency.expand_as(scores), {}, first_chunk, K);
    }
    case Retriever::random:
      // The seed is set apart from that of the training noise.
      return draw_chunks(scores, ~options.seed, first_chunk, group, K, options);
    case Retriever::learned:
      if (draws_chunks(config)) return draw_chunks(scores, options.seed, first_chunk, group, K, options);
      break;
  }
  if (is_frozen(config)) return kernels::landmark_topk(scores, {}, first_chunk, K);
  at::Tensor noise;
  if (options.gumbel.defined())
    noise = options.gumbel[group].narrow(1, first_chunk, scores.size(1)).narrow(2, 0, scores.size(2));
  else if (options.draw_gumbel && config.gumbel_scale > 0)
    noise = draw_noise(scores, options.seed, first_chunk, group, options) * config.gumbel_scale;
  return kernels::landmark_topk(scores, noise, first_chunk, K);
}

/// Empties the slots (B, R, K) of the sequences that read nothing in this step. A sequence is drawn by
/// (seed, step, row), the same in every group.
void drop_sequences(const at::Tensor& idx, const ForwardOptions& options) {
  for (int64_t row = 0; row < idx.size(0); ++row) {
    const PhiloxBlock block = philox_block(options.seed, RandomStream::retrieval_dropout, options.step,
                                           static_cast<uint64_t>(options.batch_offset + row));
    if (open_unit_float(block.word[0]) < options.retrieval_dropout) idx.select(0, row).fill_(-1);
  }
}

/// 1 over the number of chunks that a landmark chose, for each of them. idx (B, R, K).
at::Tensor equal_weights(const at::Tensor& idx) {
  const at::Tensor is_chosen = idx.ge(0).to(at::kFloat);
  return is_chosen / is_chosen.sum(-1, /*keepdim=*/true).clamp_min(1.0);
}

/// Uniform in (0, 1), one number a slot of `weights` (B, R, K), apart from the noise of the choice.
at::Tensor draw_uniform(const at::Tensor& weights, int64_t first_chunk, int64_t group,
                        const ForwardOptions& options) {
  const uint64_t seed = options.seed + 0x9E3779B97F4A7C15;
  return (-(-draw_noise(weights, seed, first_chunk, group, options)).exp()).exp();
}

/// Weighted choices.
struct WeightedChoice {
  at::Tensor idx, weights, scores, all_scores;
};

/// r of every chunk, (B, c, C): of queries (B, c, d) and landmarks (B, C, d).
at::Tensor landmark_scores(const at::Tensor& query, const at::Tensor& landmarks) {
  return at::matmul(query, landmarks.transpose(1, 2)) / std::sqrt(static_cast<double>(query.size(-1)));
}

/// The same by chunk vectors, of the last `c` of `C` chunks.
at::Tensor vector_scores(const at::Tensor& vectors, int64_t c, int64_t C, const at::TensorOptions& wanted) {
  if (!vectors.defined())
    fail_usage("retriever frozen", "chooses chunks by vectors of a data set, and this text has none",
               "use a model whose retriever is learned or random");
  TORCH_CHECK(vectors.size(1) >= C, "chunk vectors of ", vectors.size(1), " chunks, where ", C,
              " are closed");
  const at::Tensor all = vectors.narrow(1, 0, C).to(wanted);
  return at::matmul(all.narrow(1, C - c, c), all.transpose(1, 2));
}

/// Everything at once: differentiable, with noise, for any retriever. scores (B, c, C).
WeightedChoice retrieve_from_all_scores(const at::Tensor& scores, int64_t first_chunk, int64_t group,
                                        const ModelConfig& config, const ForwardOptions& options,
                                        bool tells_scores) {
  WeightedChoice result;
  result.idx = choose(scores, first_chunk, group, config, options);
  if (options.retrieval_dropout > 0) drop_sequences(result.idx, options);
  result.weights =
      draws_chunks(config) ? equal_weights(result.idx) : kernels::retrieval_weights(scores, result.idx);
  if (tells_scores)
    result.scores =
        scores.detach().gather(-1, result.idx.clamp_min(0).to(at::kLong)).masked_fill(result.idx.lt(0), 0.0);
  result.all_scores = scores;
  return result;
}

/// The learned choice, without gradients and noise: no more than K scores a row are kept.
WeightedChoice retrieve_by_search(const at::Tensor& query, std::span<const kernels::LandmarkPart> parts,
                                  int64_t first_chunk, const ModelConfig& config) {
  const kernels::LandmarkChoice choice = kernels::landmark_search(
      query, parts, first_chunk, config.chunk_top_k, 1.0 / std::sqrt(static_cast<double>(config.d_model)));
  WeightedChoice result;
  result.idx = choice.idx;
  // A row without any candidate is all minus infinity, whose softmax is NaN: it reads nothing.
  result.weights = at::softmax(choice.r, -1).masked_fill(choice.idx.lt(0), 0.0);
  result.scores = choice.r.masked_fill(choice.idx.lt(0), 0.0);
  return result;
}

}  // namespace

RetrievalResult retrieve(const Norm& query_norm, const at::Tensor& h_landmark, const ChunkMemory& memory,
                         int64_t first_chunk, int64_t group, const ModelConfig& config,
                         const ForwardOptions& options) {
  const bool is_noisy = options.gumbel.defined() || (options.draw_gumbel && config.gumbel_scale > 0);
  const bool tells_all = options.observe || options.choices == ChoiceDetail::all_scores;
  const bool tells_scores = options.observe || options.choices != ChoiceDetail::last;
  const bool by_search = !at::GradMode::is_enabled() && !is_noisy && !tells_all &&
                         options.retriever == Retriever::learned && group != options.silent_group &&
                         options.retrieval_dropout == 0 && !draws_chunks(config) && !is_frozen(config);
  const std::vector<kernels::LandmarkPart> parts = memory.landmark_parts();
  const auto from_all = [&](const at::Tensor& scores) {
    return retrieve_from_all_scores(scores, first_chunk, group, config, options, tells_scores);
  };
  WeightedChoice choice;
  if (is_frozen(config)) {
    const at::TensorOptions wanted = h_landmark.options().dtype(parts.front().rows.scalar_type());
    choice = from_all(vector_scores(options.chunk_vectors, h_landmark.size(1), memory.chunk_count(),
                                    wanted.requires_grad(false)));
  } else {
    const at::Tensor query = query_norm(h_landmark, parts.front().rows.scalar_type());
    choice = by_search ? retrieve_by_search(query, parts, first_chunk, config)
                       : from_all(landmark_scores(query, memory.landmarks()));
  }
  if (options.observe) {
    const std::string suffix = std::to_string(group);
    options.observe("r." + suffix, choice.all_scores);
    options.observe("score." + suffix, choice.scores);
    options.observe("idx." + suffix, choice.idx);
    options.observe("w." + suffix, choice.weights);
  }
  RetrievalResult result{{choice.idx, choice.weights.detach(), {}, {}}, choice.weights};
  if (tells_scores) result.choices.scores = choice.scores;
  if (tells_all) result.choices.all_scores = choice.all_scores.detach();
  if (options.weight_rounding > 0)
    result.weights = round_weights(result.weights, draw_uniform(result.weights, first_chunk, group, options),
                                   options.weight_rounding);
  return result;
}

}  // namespace gca::model
