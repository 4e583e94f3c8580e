#include "lib/model/retrieval.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>

#include <cmath>

#include "kernels/gumbel_noise/gumbel_noise.h"
#include "kernels/landmark_topk/landmark_topk.h"

namespace gca {
namespace {

at::Tensor draw_noise(const at::Tensor& scores, uint64_t seed, int64_t first_chunk, int64_t group,
                      const ForwardOptions& options) {
  const kernels::GumbelCoordinates coordinates{.seed = seed,
                                               .step = options.step,
                                               .group = group,
                                               .batch_offset = options.batch_offset,
                                               .first_query = first_chunk};
  return kernels::gumbel_noise(coordinates, scores.size(0), scores.size(1), scores.size(2))
      .to(scores.scalar_type());
}

at::Tensor choose(const at::Tensor& scores, int64_t first_chunk, int64_t group, const ModelConfig& config,
                  const ForwardOptions& options) {
  const int64_t K = config.chunk_top_k;
  switch (options.retriever) {
    case Retriever::none:
      return at::full({scores.size(0), scores.size(1), K}, -1, at::kInt);
    case Retriever::recent: {
      const at::Tensor recency = at::arange(scores.size(2), scores.options().requires_grad(false));
      return kernels::landmark_topk(recency.expand_as(scores), {}, first_chunk, K);
    }
    case Retriever::random: {
      // The top K of pure noise is a uniform choice. The seed is set apart from that of the training noise.
      const at::Tensor noise = draw_noise(scores, ~options.seed, first_chunk, group, options);
      return kernels::landmark_topk(noise, {}, first_chunk, K);
    }
    case Retriever::learned:
      break;
  }
  at::Tensor noise;
  if (options.gumbel.defined())
    noise = options.gumbel[group].narrow(1, first_chunk, scores.size(1)).narrow(2, 0, scores.size(2));
  else if (options.draw_gumbel && config.gumbel_scale > 0)
    noise = draw_noise(scores, options.seed, first_chunk, group, options) * config.gumbel_scale;
  return kernels::landmark_topk(scores, noise, first_chunk, K);
}

}  // namespace

RetrievalResult retrieve(const Norm& query_norm, const at::Tensor& h_landmark, const ChunkMemory& memory,
                         int64_t first_chunk, int64_t group, const ModelConfig& config,
                         const ForwardOptions& options) {
  const at::Tensor landmarks = memory.landmarks();  // (B, C, d)
  const at::Tensor query = query_norm(h_landmark, landmarks.scalar_type());
  RetrievalResult result;
  result.scores =
      at::matmul(query, landmarks.transpose(1, 2)) / std::sqrt(static_cast<double>(config.d_model));
  result.idx = choose(result.scores, first_chunk, group, config, options);
  if (options.observe) options.observe("r." + std::to_string(group), result.scores);
  result.weights = kernels::retrieval_weights(result.scores, result.idx);
  if (options.observe) {
    options.observe("idx." + std::to_string(group), result.idx);
    options.observe("w." + std::to_string(group), result.weights);
  }
  return result;
}

}  // namespace gca
