// The launchers that the bindings call, on the PTX machine: what each .cu file's own launchers do on a GPU.

#include <string>

#include "kernels/adamw/adamw_cuda.h"
#include "kernels/common/cuda/device_tensor.h"
#include "kernels/common/cuda/sum_rows_cuda.h"
#include "kernels/embedding/embedding_gradient_cuda.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention_cuda.h"
#include "kernels/landmark_topk/landmark_topk_cuda.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy_cuda.h"
#include "kernels/rms_norm/rms_norm_cuda.h"
#include "kernels/rotary/rotary_cuda.h"
#include "kernels/sliding_window_attention/sliding_window_attention_cuda.h"
#include "kernels/swiglu/swiglu_cuda.h"
#include "tests/cuda/machine_memory.h"

namespace gca::cuda {
namespace {

/// Mangled template arguments.
std::string variant(int a) {
  return "ILi" + std::to_string(a) + "E";
}
std::string variant(int a, int b) {
  return variant(a) + "Li" + std::to_string(b) + "E";
}
std::string variant(int a, int b, int c) {
  return variant(a, b) + "Li" + std::to_string(c) + "E";
}
std::string rms_norm_variant(int d, bool is_float) {
  return variant(rms_norm_vectors(d)) + (is_float ? "f" : "N");
}

template <class... Parameters>
int run(const std::string& file, const std::string& kernel, const LaunchShape& shape,
        const Parameters&... parameters) {
  testing::run_on_machine(file, kernel, shape, ptx::arguments(parameters...));
  return 0;
}

}  // namespace

void* current_stream() {
  return nullptr;
}
int compute_capability() {
  return testing::machine_capability();
}
std::string launch_error_text(int error) {
  return std::to_string(error);
}

int launch_gca_forward(const GcaForwardParams& p, void* /*stream*/) {
  const GcaForwardVariant v = gca_forward_variant(p.shape);
  return run("grouped_cross_attention_forward",
             "gca_forward_kernel" + variant(v.head_dim, v.keys, v.row_tiles),
             gca_forward_launch_shape(p.shape), p);
}
int launch_gca_forward_sm90(const GcaForwardParams& p, void* /*stream*/) {
  const LaunchShape shape = gca_forward_sm90_launch_shape(p.shape);
  return run("grouped_cross_attention_forward_sm90",
             "gca_forward_sm90_kernel" + variant(p.shape.head_dim, round_up_keys(p.shape.keys),
                                                 static_cast<int>(shape.threads / 128)),
             shape, p);
}
int launch_gca_backward_queries(const GcaBackwardQueriesParams& p, void* /*stream*/) {
  return run("grouped_cross_attention_backward_queries",
             "gca_backward_queries_kernel" + variant(p.shape.head_dim, round_up_keys(p.shape.keys)),
             gca_backward_queries_launch_shape(p.shape), p);
}
int launch_gca_reduce_weights(const GcaReduceWeightsParams& p, void* /*stream*/) {
  return run("grouped_cross_attention_backward_queries", "gca_reduce_weights_kernel",
             gca_reduce_weights_launch_shape(p.size), p);
}
int launch_gca_readers(const GcaReadersParams& p, void* /*stream*/) {
  return run("grouped_cross_attention_backward_chunks", "gca_readers_kernel",
             gca_readers_launch_shape(p.batch, p.chunks), p);
}
int launch_gca_backward_chunks(const GcaBackwardChunksParams& p, void* /*stream*/) {
  return run("grouped_cross_attention_backward_chunks",
             "gca_backward_chunks_kernel" + variant(p.shape.head_dim, round_up_keys(p.shape.keys)),
             gca_backward_chunks_launch_shape(p.shape), p);
}
int launch_gca_decode(const GcaDecodeParams& p, void* /*stream*/) {
  run("grouped_cross_attention_decode",
      "gca_decode_kernel" + variant(p.shape.head_dim, round_up_keys(p.shape.keys)),
      gca_decode_launch_shape(p.shape), p);
  return run("grouped_cross_attention_decode", "gca_decode_sum_kernel", gca_decode_sum_launch_shape(p.shape),
             p);
}

int launch_window_forward(const WindowForwardParams& p, void* /*stream*/) {
  return run("sliding_window_attention_forward", "window_forward_kernel" + variant(p.shape.head_dim),
             window_forward_launch_shape(p.shape), p);
}
int launch_window_dot(const WindowDotParams& p, void* /*stream*/) {
  return run("sliding_window_attention_backward", "window_dot_kernel" + variant(p.shape.head_dim),
             window_dot_launch_shape(p.shape), p);
}
int launch_window_backward_queries(const WindowBackwardParams& p, void* /*stream*/) {
  return run("sliding_window_attention_backward",
             "window_backward_queries_kernel" + variant(p.shape.head_dim),
             window_backward_queries_launch_shape(p.shape), p);
}
int launch_window_backward_keys(const WindowBackwardParams& p, void* /*stream*/) {
  return run("sliding_window_attention_backward", "window_backward_keys_kernel" + variant(p.shape.head_dim),
             window_backward_keys_launch_shape(p.shape), p);
}
int launch_window_decode(const WindowDecodeParams& p, void* /*stream*/) {
  run("sliding_window_attention_decode", "window_decode_kernel" + variant(p.shape.head_dim),
      window_decode_launch_shape(p.shape), p);
  return run("sliding_window_attention_decode", "window_decode_join_kernel",
             window_decode_join_launch_shape(p.shape), p, window_decode_segments(p.shape));
}

int launch_landmark_scores(const LandmarkScoresParams& p, void* /*stream*/) {
  return run("landmark_topk", "landmark_scores_kernel", landmark_scores_launch_shape(p.batch, p.chunks), p);
}
int launch_gumbel_noise(const GumbelNoiseParams& p, void* /*stream*/) {
  return run("landmark_topk", "gumbel_noise_kernel", gumbel_noise_launch_shape(p.batch, p.rows, p.chunks), p);
}
int launch_landmark_topk(const LandmarkTopkParams& p, void* /*stream*/) {
  run("landmark_topk", "landmark_topk_kernel" + variant(topk_candidates(p.chunks)),
      landmark_topk_launch_shape(p), p);
  if (topk_segments(p.chunks) == 1) return 0;
  return run("landmark_topk", "landmark_topk_join_kernel", landmark_topk_join_launch_shape(p), p,
             topk_segments(p.chunks));
}

int launch_rms_norm(const RmsNormParams& p, void* /*stream*/) {
  return run("rms_norm", "rms_norm_kernel" + rms_norm_variant(p.d, p.y_is_float != 0),
             rms_norm_launch_shape(p.rows), p);
}
int launch_rms_norm_backward(const RmsNormBackwardParams& p, void* /*stream*/) {
  return run("rms_norm", "rms_norm_backward_kernel" + rms_norm_variant(p.d, p.dy_is_float != 0),
             rms_norm_backward_launch_shape(p.rows, p.d), p);
}
int launch_sum_rows(const SumRowsParams& p, void* /*stream*/) {
  return run("sum_rows", "sum_rows_kernel", sum_rows_launch_shape(p.columns), p);
}
int launch_swiglu(const SwigluParams& p, void* /*stream*/) {
  return run("swiglu", "swiglu_kernel", swiglu_launch_shape(p.size), p);
}
int launch_swiglu_backward(const SwigluBackwardParams& p, void* /*stream*/) {
  return run("swiglu", "swiglu_backward_kernel", swiglu_launch_shape(p.size), p);
}
int launch_rotary(const RotaryParams& p, void* /*stream*/) {
  return run("rotary", "rotary_kernel", rotary_launch_shape(p.rows, p.head_dim), p);
}
int launch_embedding_gradient(const EmbeddingGradientParams& p, void* /*stream*/) {
  return run("embedding_gradient", "embedding_gradient_kernel",
             embedding_gradient_launch_shape(p.vocabulary, p.d), p);
}
int launch_cross_entropy_statistics(const CrossEntropyStatisticsParams& p, void* /*stream*/) {
  return run("linear_cross_entropy", "cross_entropy_statistics_kernel", cross_entropy_launch_shape(p.rows),
             p);
}
int launch_cross_entropy_gradient(const CrossEntropyGradientParams& p, void* /*stream*/) {
  return run("linear_cross_entropy", "cross_entropy_gradient_kernel", cross_entropy_launch_shape(p.rows), p);
}
int launch_adamw(const AdamWParams& p, void* /*stream*/) {
  return run("adamw", "adamw_kernel", adamw_launch_shape(p.size), p);
}
int launch_sum_of_squares(const SumOfSquaresParams& p, void* /*stream*/) {
  return run("adamw", "sum_of_squares_kernel", sum_of_squares_launch_shape(p.size), p);
}
int launch_sum_parts(const SumPartsParams& p, void* /*stream*/) {
  LaunchShape shape;
  shape.threads = 256;
  return run("adamw", "sum_parts_kernel", shape, p);
}

}  // namespace gca::cuda
