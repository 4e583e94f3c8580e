#include "lib/model/language_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

#include "kernels/common/implementation.h"
#include "kernels/embedding/embedding.h"
#include "kernels/linear/linear_few_rows.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy.h"
#include "kernels/matrix_product/matrix_product.h"
#include "lib/model/backbones/gca/retrieval.h"
#include "lib/model/decoding_step.h"
#include "lib/model/layers/recompute.h"

namespace gca {
namespace {

std::string numbered(const char* prefix, int64_t number, const char* suffix = "") {
  return prefix + std::to_string(number) + suffix;
}

void observe(const ForwardOptions& options, const std::string& name, const at::Tensor& value) {
  if (options.observe) options.observe(name, value);
}

void observe(const ForwardOptions& options, const std::string& name, const Residual& value) {
  if (options.observe) options.observe(name, value.sum());
}

/// Runs one layer, or arranges for it to be run again in the backward pass.
template <class Run>
Residual run_layer(const Run& run, const Residual& in, const ForwardOptions& options) {
  if (!options.recompute_activations || !at::GradMode::is_enabled()) return run(in);
  const auto again = [run](const std::vector<at::Tensor>& h) { return run(Residual{h[0], {}}).sum(); };
  return {recompute(again, {in.sum()}), {}};
}

}  // namespace

LanguageModel::LanguageModel(ModelConfig config, at::ScalarType compute_dtype, at::Device device)
    : config_(std::move(config)), compute_dtype_(compute_dtype) {
  config_.validate("model configuration");
  config_.d_ff = config_.ff_size();
  if (config_.landmark_id < 0) config_.landmark_id = config_.vocab_size - 1;
  WeightBuilder builder(compute_dtype, device);
  const std::vector<double> slopes = config_.slopes();
  slopes_ = at::tensor(slopes, at::kDouble).to(device, builder.master_dtype());
  tok_emb_ = builder.matrix("tok_emb", config_.vocab_size, config_.d_model);
  for (int64_t i = 0; i < config_.n_lower_layers; ++i)
    lower_.push_back(DecoderLayer::claim(builder, numbered("lower.", i), config_));
  if (config_.uses_retrieval()) {
    encoder_ = ChunkEncoder::claim(builder, config_);
    for (int64_t g = 0; g < config_.retrieval_groups; ++g)
      query_norms_.push_back(
          {builder.norm(numbered("group.", g, ".query_norm"), config_.d_model), config_.norm_eps});
    for (int64_t j = 0; j < config_.n_upper_layers; ++j)
      upper_.push_back(UpperLayer::claim(builder, numbered("upper.", j), config_));
  } else {
    for (int64_t j = 0; j < config_.n_upper_layers; ++j)
      baseline_.push_back(DecoderLayer::claim(builder, numbered("upper.", j), config_));
  }
  out_norm_ = {builder.norm("out_norm", config_.d_model), config_.norm_eps};
  weights_ = builder.take();
}

at::Tensor LanguageModel::forward(const at::Tensor& ids, DrtState& state,
                                  const ForwardOptions& options) const {
  const bool with_gradients = at::GradMode::is_enabled();
  TORCH_CHECK(!with_gradients || state.position == 0,
              "gradients do not cross segments: start from an empty state");
  const auto layers = static_cast<size_t>(config_.n_lower_layers + config_.n_upper_layers);
  if (state.windows.empty() && !with_gradients) state.windows.resize(layers);
  if (ids.numel() == 1 && !with_gradients && !options.observe && !options.memory_only) {
    const DecodingLayers parts{config_, slopes_, lower_, baseline_, upper_, out_norm_};
    if (can_decode_position(parts, state)) return decode_one(parts, ids, state);
  }

  const at::Tensor h_low =
      run_lower(kernels::embedding(tok_emb_.master, ids.to(device())), state, options);  // (B, n, d)
  observe(options, "h_low", h_low);

  if (options.memory_only) {
    TORCH_CHECK(!with_gradients, "chunk memory alone has no gradients");
    if (config_.uses_retrieval()) close_chunks(h_low, state, options);
    leave_out_upper(state);
    state.position += ids.size(1);
    return {};
  }

  Residual h{h_low, {}};
  if (!config_.uses_retrieval()) {
    for (int64_t j = 0; j < config_.n_upper_layers; ++j) {
      const DecoderLayer& layer = baseline_[static_cast<size_t>(j)];
      WindowCache* window =
          with_gradients ? nullptr : &state.windows[static_cast<size_t>(config_.n_lower_layers + j)];
      h = run_layer([&, window](const Residual& in) { return layer.forward(in, slopes_, config_, window); },
                    h, options);
      observe(options, numbered("upper.", j), h);
    }
  } else {
    close_chunks(h_low, state, options);
    if (state.open_retrieval.empty()) state.open_retrieval.resize(query_norms_.size());
    const std::vector<int64_t> group_sizes = config_.group_sizes();
    int64_t first_layer = 0;
    for (int64_t g = 0; g < config_.retrieval_groups; ++g) {
      h = run_group(g, h.h, first_layer, state, options);
      if (g + 1 < config_.retrieval_groups) h = {h.sum(), {}};  // the next group's queries read it, too
      observe(options, numbered("h_group.", g), h);
      first_layer += group_sizes[static_cast<size_t>(g)];
    }
  }
  state.position += ids.size(1);
  const at::Tensor hidden = normalise(h, out_norm_, compute_dtype_).y;
  observe(options, "hidden", hidden);
  return hidden;
}

/// What upper layers know of earlier positions is of no use once some have been left out.
void LanguageModel::leave_out_upper(DrtState& state) const {
  for (size_t layer = static_cast<size_t>(config_.n_lower_layers); layer < state.windows.size(); ++layer)
    state.windows[layer] = WindowCache();
  state.open_retrieval.clear();
}

/// Between two landmarks nothing is retrieved: a position runs through all layers at once.
at::Tensor LanguageModel::decode_one(const DecodingLayers& parts, const at::Tensor& ids,
                                     DrtState& state) const {
  const auto [h_low, hidden] = decode_position(parts, tok_emb_.master[ids.item<int64_t>()], state);
  if (config_.uses_retrieval())
    state.open_chunk = state.open_chunk.defined() ? at::cat({state.open_chunk, h_low}, 1) : h_low;
  ++state.position;
  return hidden;
}

at::Tensor LanguageModel::run_lower(const at::Tensor& embedded, DrtState& state,
                                    const ForwardOptions& options) const {
  Residual h{embedded, {}};
  for (int64_t i = 0; i < config_.n_lower_layers; ++i) {
    const DecoderLayer& layer = lower_[static_cast<size_t>(i)];
    WindowCache* window = at::GradMode::is_enabled() ? nullptr : &state.windows[static_cast<size_t>(i)];
    h = run_layer([&, window](const Residual& in) { return layer.forward(in, slopes_, config_, window); }, h,
                  options);
    if (i + 1 < config_.n_lower_layers) observe(options, numbered("lower.", i), h);
  }
  return h.sum();
}

/// Encodes the chunks that this segment closes and appends them to chunk memory; keeps the rest as the open
/// chunk.
void LanguageModel::close_chunks(const at::Tensor& h_low, DrtState& state,
                                 const ForwardOptions& options) const {
  const int64_t S = config_.chunk_size;
  if (!state.memory) state.memory = make_tensor_chunk_memory();
  const at::Tensor pending = state.open_chunk.defined() ? at::cat({state.open_chunk, h_low}, 1) : h_low;
  const int64_t closed = pending.size(1) / S;
  if (closed > 0) {
    const EncodedChunks chunks =
        encoder_.forward(pending.narrow(1, 0, closed * S), config_,
                         options.recompute_activations && at::GradMode::is_enabled());
    observe(options, "enc_out", chunks.encoded);
    observe(options, "landmark", chunks.landmarks);
    observe(options, "chunk_k", chunks.keys);
    observe(options, "chunk_v", chunks.values);
    state.memory->append(chunks.landmarks, chunks.keys, chunks.values);
  }
  const int64_t open = pending.size(1) - closed * S;
  state.open_chunk = open > 0 ? pending.narrow(1, closed * S, open) : at::Tensor();
  if (state.open_chunk.defined() && !at::GradMode::is_enabled()) state.open_chunk = state.open_chunk.clone();
}

/// Retrieves at the landmarks of this segment and runs the group's layers. Chunk t+1 reads what the landmark
/// of chunk t chose; the choice that serves the segment's first chunk comes from the state, and the last
/// choice goes there.
Residual LanguageModel::run_group(int64_t group, const at::Tensor& h_in, int64_t first_layer, DrtState& state,
                                  const ForwardOptions& options) const {
  const int64_t S = config_.chunk_size;
  const int64_t B = h_in.size(0);
  const int64_t n = h_in.size(1);
  const int64_t first_offset = state.position % S;
  const int64_t first_chunk = state.position / S;
  const int64_t closed = (first_offset + n) / S;
  const int64_t touched = (first_offset + n + S - 1) / S;
  OpenRetrieval& open = state.open_retrieval[static_cast<size_t>(group)];
  if (!open.idx.defined()) {
    const at::TensorOptions plain = h_in.options().requires_grad(false);
    open.idx = at::full({B, 1, config_.chunk_top_k}, -1, plain.dtype(at::kInt));
    open.weights = at::zeros({B, 1, config_.chunk_top_k}, plain);
  }

  Reading reading;
  reading.first_offset = first_offset;
  at::Tensor idx = open.idx;
  reading.weights = open.weights;
  if (closed > 0) {
    const at::Tensor landmark_positions =
        at::arange(S - 1 - first_offset, n, S, open.idx.options().dtype(at::kLong));
    const RetrievalResult result =
        retrieve(query_norms_[static_cast<size_t>(group)], h_in.index_select(1, landmark_positions),
                 *state.memory, first_chunk, group, config_, options);
    idx = at::cat({idx, result.idx}, 1);
    reading.weights = at::cat({reading.weights, result.weights}, 1);
    open.idx = result.idx.narrow(1, closed - 1, 1).clone();
    open.chunks = {};
    open.weights = result.weights.narrow(1, closed - 1, 1).detach().clone();
  }
  reading.weights = reading.weights.narrow(1, 0, touched);
  const bool anything_to_read = state.memory->chunk_count() > 0;
  if (touched == 1 && closed == 0 && open.chunks.keys.defined()) {
    reading.chunks = open.chunks;
  } else if (anything_to_read) {
    reading.chunks = state.memory->read(idx.narrow(1, 0, touched).contiguous());
    if (touched == 1 && closed == 0) open.chunks = reading.chunks;
  } else {
    reading.chunks.idx = idx.narrow(1, 0, touched).contiguous();
    const std::vector<int64_t> shape = {B, 0, S - 1, config_.n_kv_heads, config_.head_dim()};
    reading.chunks.keys = at::empty(shape, open.idx.options().dtype(compute_dtype_));
    reading.chunks.values = at::empty_like(reading.chunks.keys);
  }

  Residual h{h_in, {}};
  const int64_t layer_count = config_.group_sizes()[static_cast<size_t>(group)];
  for (int64_t j = first_layer; j < first_layer + layer_count; ++j) {
    const UpperLayer& layer = upper_[static_cast<size_t>(j)];
    WindowCache* window = at::GradMode::is_enabled()
                              ? nullptr
                              : &state.windows[static_cast<size_t>(config_.n_lower_layers + j)];
    if (options.recompute_activations && at::GradMode::is_enabled()) {
      const auto run = [this, &layer, idx = reading.chunks.idx,
                        first_offset](const std::vector<at::Tensor>& inputs) {
        const Reading again{ChunkView{inputs[1], inputs[2], idx}, inputs[3], first_offset};
        return layer.forward({inputs[0], {}}, slopes_, again, config_, nullptr).h.sum();
      };
      h = {recompute(run, {h.sum(), reading.chunks.keys, reading.chunks.values, reading.weights}), {}};
    } else {
      const UpperLayerOutput out = layer.forward(h, slopes_, reading, config_, window);
      observe(options, numbered("upper.", j, ".a"), out.a);
      observe(options, numbered("upper.", j, ".o"), out.o);
      h = out.h;
    }
    if (j + 1 < first_layer + layer_count) observe(options, numbered("upper.", j), h);
  }
  return h;
}

at::Tensor LanguageModel::logits(const at::Tensor& hidden) const {
  const at::ScalarType wide = tok_emb_.master.scalar_type();
  if (at::GradMode::is_enabled()) return project(hidden, tok_emb_).to(wide);
  // Sums are kept as they are: logits decide between tokens.
  const bool few = kernels::implementation() != kernels::Implementation::reference &&
                   kernels::takes_few_rows(hidden, tok_emb_.compute);
  if (few) return kernels::linear_few_rows(hidden, tok_emb_.compute, wide);
  std::vector<int64_t> shape = hidden.sizes().vec();
  shape.back() = config_.vocab_size;
  const at::Tensor rows = hidden.reshape({-1, config_.d_model});
  return kernels::matrix_product(rows, tok_emb_.compute.t(), wide).reshape(shape);
}

LossResult LanguageModel::loss(const at::Tensor& hidden, const at::Tensor& targets) const {
  auto [mean, per_target] =
      kernels::linear_cross_entropy(hidden.reshape({-1, config_.d_model}), tok_emb_.master, tok_emb_.compute,
                                    targets.to(device()).reshape({-1}));
  return {mean, per_target.view(targets.sizes())};
}

void LanguageModel::refresh_compute_weights() {
  const at::NoGradGuard no_grad;
  for (Weight& weight : weights_)
    if (!weight.compute.is_same(weight.master)) weight.compute.copy_(weight.master);
}

int64_t LanguageModel::parameter_count() const {
  int64_t count = 0;
  for (const Weight& weight : weights_) count += weight.master.numel();
  return count;
}

}  // namespace gca
