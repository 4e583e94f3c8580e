// The Differentiable Retrieval-based Transformer (arXiv 2410.01651): lower decoder, chunk encoder, retrieval,
// upper decoder in groups. One run() serves training (one segment, a new past), prefill (long segments) and
// decoding (segments of one position), so that they cannot disagree; row_decoder.h takes single positions
// between two landmarks.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "lib/model/backbone.h"
#include "lib/model/backbones/gca/chunk_encoder.h"
#include "lib/model/backbones/gca/gca_kind.h"
#include "lib/model/backbones/gca/gca_past.h"
#include "lib/model/backbones/gca/retrieval.h"
#include "lib/model/backbones/gca/upper_layer.h"
#include "lib/model/layers/recompute.h"
#include "lib/model/layers/window_stack.h"
#include "lib/model/rows/row_decoder.h"
#include "lib/model/rows/window_row.h"
#include "lib/parallel/differentiable.h"

namespace gca::model {
namespace {

using SharedConfig = std::shared_ptr<const ModelConfig>;

class GcaBackbone final : public Backbone {
 public:
  GcaBackbone(WeightBuilder& builder, SharedConfig config);

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<GcaPast>(position, lower_.layers.size() + upper_.size(), query_norms_.size());
  }
  Residual run(const at::Tensor& embedded, const Norm& final_norm, Past& past,
               const ForwardOptions& options) const override;
  at::Tensor run_row(const at::Tensor& embedding, const Norm& final_norm, Past& past,
                     const ForwardOptions& options) const override;

 private:
  /// What a segment is run with.
  struct Segment {
    GcaPast& past;
    const SharedConfig& config;
    const ForwardOptions& options;
  };

  std::span<WindowCache> lower_windows(GcaPast& past) const {
    return std::span(past.windows).first(lower_.layers.size());
  }
  std::span<WindowCache> upper_windows(GcaPast& past) const {
    return std::span(past.windows).subspan(lower_.layers.size());
  }
  void close_chunks(const at::Tensor& h_low, const Segment& segment) const;
  Reading retrieve_for(size_t group, const at::Tensor& h_in, const Segment& segment) const;
  Residual run_group(size_t group, size_t first_layer, size_t end_layer, const at::Tensor& h_in,
                     const Segment& segment) const;

  SharedConfig config_;
  at::Tensor slopes_;  // (H)
  at::ScalarType compute_dtype_;
  WindowStack lower_;
  ChunkEncoder encoder_;
  std::vector<Norm> query_norms_;  // one a group
  std::vector<UpperLayer> upper_;
};

GcaBackbone::GcaBackbone(WeightBuilder& builder, SharedConfig shared_config)
    : config_(std::move(shared_config)),
      slopes_(make_slopes(builder, *config_)),
      compute_dtype_(builder.compute_dtype()) {
  const ModelConfig& config = *config_;
  builder.begin_group(WeightGroup::lower);
  lower_ = WindowStack::claim(builder, "lower.", config.n_lower_layers, config);
  encoder_ = ChunkEncoder::claim(builder, config);
  builder.begin_group(WeightGroup::upper);
  for (size_t g = 0; g < static_cast<size_t>(config.retrieval_groups); ++g)
    query_norms_.push_back(
        {builder.norm(numbered("group.", g, ".query_norm"), config.d_model), config.norm_eps});
  for (size_t j = 0; j < static_cast<size_t>(config.n_upper_layers); ++j)
    upper_.push_back(UpperLayer::claim(builder, numbered("upper.", j), config));
}

Residual GcaBackbone::run(const at::Tensor& embedded, const Norm& /*final_norm*/, Past& any_past,
                          const ForwardOptions& options) const {
  auto& past = past_as<GcaPast>(any_past);
  const SharedConfig config = options.config ? options.config : config_;
  const Segment segment{past, config, options};
  const at::Tensor h_low =
      lower_.run({embedded, {}}, lower_windows(past), slopes_, config, options).sum();  // (B, n, d)
  observe(options, "h_low", h_low);
  close_chunks(h_low, segment);
  if (options.memory_only) {
    past.leave_out_upper(lower_.layers.size());
    past.advance(embedded.size(1));
    return {};
  }

  Residual h{h_low, {}};
  const std::vector<int64_t> sizes = group_sizes(*config);
  size_t first_layer = 0;
  for (size_t g = 0; g < sizes.size(); ++g) {
    const size_t end_layer = first_layer + static_cast<size_t>(sizes[g]);
    h = run_group(g, first_layer, end_layer, h.h, segment);
    if (g + 1 < sizes.size()) h = {h.sum(), {}};  // the next group's queries read it, too
    observe(options, numbered("h_group.", g), h);
    first_layer = end_layer;
  }
  past.advance(embedded.size(1));
  return h;
}

/// Encodes the chunks that this segment closes and appends them to chunk memory; keeps the rest as the open
/// chunk.
void GcaBackbone::close_chunks(const at::Tensor& h_low, const Segment& segment) const {
  const auto& [past, config, options] = segment;
  const int64_t S = config->chunk_size;
  const at::Tensor pending = past.open_chunk.defined() ? at::cat({past.open_chunk, h_low}, 1) : h_low;
  const int64_t closed = pending.size(1) / S;
  if (closed > 0) {
    const EncodedChunks chunks =
        encoder_.forward(pending.narrow(1, 0, closed * S), config,
                         options.recompute_activations && at::GradMode::is_enabled());
    observe(options, "enc_out", chunks.encoded);
    observe(options, "landmark", chunks.landmarks);
    observe(options, "chunk_k", chunks.keys);
    observe(options, "chunk_v", chunks.values);
    if (parallel::Communicator* const ranks = options.text_ranks; ranks != nullptr)
      past.memory()->append(parallel::gather_rows(chunks.landmarks, *ranks),
                            parallel::gather_rows(chunks.keys, *ranks),
                            parallel::gather_rows(chunks.values, *ranks));
    else
      past.memory()->append(chunks.landmarks, chunks.keys, chunks.values);
  }
  const int64_t open = pending.size(1) - closed * S;
  past.open_chunk = open > 0 ? pending.narrow(1, closed * S, open) : at::Tensor();
  if (past.open_chunk.defined() && !at::GradMode::is_enabled()) past.open_chunk = past.open_chunk.clone();
}

/// Retrieves at the landmarks of this segment. Chunk t+1 reads what the landmark of chunk t chose; the choice
/// that serves the segment's first chunk comes from the past, and the last choice goes there.
Reading GcaBackbone::retrieve_for(size_t group, const at::Tensor& h_in, const Segment& segment) const {
  const auto& [past, config, options] = segment;
  const int64_t S = config->chunk_size;
  const int64_t B = h_in.size(0);
  const int64_t n = h_in.size(1);
  const int64_t first_offset = past.position() % S;
  const int64_t first_chunk = past.position() / S;
  const int64_t closed = (first_offset + n) / S;
  const int64_t touched = (first_offset + n + S - 1) / S;
  OpenRetrieval& open = past.open_retrieval[group];
  if (!open.idx.defined()) {
    const at::TensorOptions plain = h_in.options().requires_grad(false);
    open.idx = at::full({B, 1, config->chunk_top_k}, -1, plain.dtype(at::kInt));
    open.weights = at::zeros({B, 1, config->chunk_top_k}, plain);
  }

  Reading reading;
  reading.first_offset = first_offset;
  at::Tensor idx = open.idx;
  reading.weights = open.weights;
  past.told[group] = {};
  if (closed > 0) {
    const at::Tensor landmark_positions =
        at::arange(S - 1 - first_offset, n, S, open.idx.options().dtype(at::kLong));
    RetrievalResult result =
        retrieve(query_norms_[group], h_in.index_select(1, landmark_positions), *past.memory(), first_chunk,
                 static_cast<int64_t>(group), *config, options);
    if (options.text_ranks != nullptr) {  // the landmark before the first chunk is the left neighbour's
      idx = parallel::shift_right(result.choices.idx.narrow(1, closed - 1, 1), -1, *options.text_ranks);
      reading.weights =
          parallel::shift_right(result.weights.narrow(1, closed - 1, 1), 0, *options.text_ranks);
    }
    idx = at::cat({idx, result.choices.idx}, 1);
    reading.weights = at::cat({reading.weights, result.weights}, 1);
    open.idx = result.choices.idx.narrow(1, closed - 1, 1).clone();
    open.chunks = {};
    open.weights = result.weights.narrow(1, closed - 1, 1).detach().clone();
    if (options.choices != ChoiceDetail::last) past.told[group] = std::move(result.choices);
  }
  reading.weights = reading.weights.narrow(1, 0, touched);
  const bool anything_to_read = past.memory()->chunk_count() > 0;
  if (touched == 1 && closed == 0 && open.chunks.keys.defined()) {
    reading.chunks = open.chunks;
  } else if (anything_to_read) {
    reading.chunks = past.memory()->read(idx.narrow(1, 0, touched).contiguous());
    if (touched == 1 && closed == 0) open.chunks = reading.chunks;
  } else {
    reading.chunks.idx = idx.narrow(1, 0, touched).contiguous();
    const std::vector<int64_t> shape = {B, 0, S - 1, config->n_kv_heads, config->head_dim()};
    reading.chunks.keys = at::empty(shape, open.idx.options().dtype(compute_dtype_));
    reading.chunks.values = at::empty_like(reading.chunks.keys);
  }
  return reading;
}

Residual GcaBackbone::run_group(size_t group, size_t first_layer, size_t end_layer, const at::Tensor& h_in,
                                const Segment& segment) const {
  const auto& [past, config, options] = segment;
  const Reading reading = retrieve_for(group, h_in, segment);
  Residual h{h_in, {}};
  for (size_t j = first_layer; j < end_layer; ++j) {
    const UpperLayer& layer = upper_[j];
    WindowCache* window = at::GradMode::is_enabled() ? nullptr : &upper_windows(past)[j];
    if (options.recompute_activations && at::GradMode::is_enabled()) {
      const auto run = [&layer, slopes = slopes_, config = config, idx = reading.chunks.idx,
                        first_offset = reading.first_offset,
                        text_ranks = options.text_ranks](const std::vector<at::Tensor>& inputs) {
        const Reading again{ChunkView{inputs[1], inputs[2], idx}, inputs[3], first_offset};
        return layer.forward({inputs[0], {}}, slopes, again, *config, nullptr, text_ranks).h.sum();
      };
      h = {recompute(run, {h.sum(), reading.chunks.keys, reading.chunks.values, reading.weights}), {}};
    } else {
      const UpperLayerOutput out = layer.forward(h, slopes_, reading, *config, window, options.text_ranks);
      observe(options, numbered("upper.", j, ".a"), out.a);
      observe(options, numbered("upper.", j, ".o"), out.o);
      h = out.h;
    }
    if (j + 1 < end_layer) observe(options, numbered("upper.", j), h);
  }
  return h;
}

/// Between two landmarks nothing is retrieved: a position runs through all layers at once.
at::Tensor GcaBackbone::run_row(const at::Tensor& embedding, const Norm& final_norm, Past& any_past,
                                const ForwardOptions& options) const {
  auto& past = past_as<GcaPast>(any_past);
  const ModelConfig& config = options.config ? *options.config : *config_;
  if ((past.position() + 1) % config.chunk_size == 0) return {};  // a landmark retrieves
  for (const OpenRetrieval& open : past.open_retrieval)
    if (!open.idx.defined()) return {};
  std::vector<RowLayer> layers;
  add_row_layers(lower_, lower_windows(past), slopes_, config, layers);
  const std::vector<int64_t> sizes = group_sizes(config);
  size_t j = 0;
  for (size_t g = 0; g < sizes.size(); ++g) {
    const OpenRetrieval& open = past.open_retrieval[g];
    for (int64_t i = 0; i < sizes[g]; ++i, ++j) {
      const UpperLayer& layer = upper_[j];
      const RowReader reader{&layer.gca_norm,      &layer.gca_wq, &layer.gca_wo,
                             &open.chunks,         &open.weights, config.softmax_off_by_one,
                             config.residual_blend};
      layers.push_back({&layer.attn_norm, &layer.attn,
                        window_row(upper_windows(past)[j], slopes_, config, compute_dtype_), reader,
                        &layer.mlp_norm, &layer.mlp});
    }
  }
  if (!can_decode_row(layers)) return {};
  for (OpenRetrieval& open : past.open_retrieval)
    if (!open.chunks.idx.defined() && past.memory()->chunk_count() > 0)
      open.chunks = past.memory()->read(open.idx);
  const DecodedRow row = decode_row({layers, /*tapped=*/lower_.layers.size(), final_norm, config}, embedding);
  past.open_chunk = past.open_chunk.defined() ? at::cat({past.open_chunk, row.tapped}, 1) : row.tapped;
  past.forget_told();
  past.advance(1);
  return row.hidden;
}

}  // namespace

std::unique_ptr<Backbone> GcaKind::make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config) {
  return std::make_unique<GcaBackbone>(builder, std::move(config));
}

}  // namespace gca::model
