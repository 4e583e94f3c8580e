#pragma once
// Grouped cross-attention (arXiv 2410.01651, section 3.2): every position reads K chosen chunks, with one
// softmax per chunk, and sums what it read with the retrieval weights:
//
//   o_k = softmax_M( q . K_{I[k]} * scale ) V_{I[k]}        out = sum_k w_k o_k
//
// Keys and values are read in place through the indices; nothing is gathered.
//
// The same operator with K = 1, I = own chunk, w = 1 and plain softmax is full attention inside each chunk:
// the chunk encoder uses it so.

#include <ATen/core/Tensor.h>

#include <tuple>

namespace gca::kernels {

/// How a run of n positions maps to reading rows: position i reads with row (first_offset + i) / chunk_size.
struct ReadingLayout {
  int64_t chunk_size = 0;    ///< S, positions a reading row serves
  int64_t first_offset = 0;  ///< place of position 0 inside its chunk, 0 <= first_offset < S
};

/// Attention of n positions over chosen chunks, differentiable in q, k, v and w.
///   q    (B, n, H, dh)      any float type
///   k, v (B, C, M, H_kv, dh) type of q; M keys a chunk; H_kv divides H, head h reads h / (H / H_kv)
///   idx  (B, R, K) int32    chunks of reading row r, -1 for none; R = ceil((first_offset + n) / S)
///   w    (B, R, K) float32 (double when q is double); ignored where idx is -1
/// scale multiplies the scores; softmax_one adds 1 to each softmax's denominator (one more key of score and
/// value 0). Returns out (B, n, H, dh), type of q. Scores, statistics and sums are float32 (double for double); bf16
/// operands are widened, probabilities are not rounded.
at::Tensor grouped_cross_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const at::Tensor& idx, const at::Tensor& w, const ReadingLayout& layout,
                                   double scale, bool softmax_one);

/// The same without autograd: (out, lse (B, n, H, K)); lse is the natural logarithm of each softmax's
/// denominator (the added 1 included), what backward needs to rebuild the probabilities; undefined where idx is -1.
std::tuple<at::Tensor, at::Tensor> grouped_cross_attention_forward(const at::Tensor& q, const at::Tensor& k,
                                                                   const at::Tensor& v, const at::Tensor& idx,
                                                                   const at::Tensor& w,
                                                                   const ReadingLayout& layout, double scale,
                                                                   bool softmax_one);

/// Gradients (dq, dk, dv, dw) of the above, in the types of q, k, v, w. With p the probabilities of a slot:
///   delta = <dO, o_k>   dw_k = sum of delta over positions and heads   dV += w_k p^T dO
///   dS = w_k p (dO V^T - delta)   dq += dS K scale   dK += dS^T q scale
/// dk and dv are reduced chunk by chunk over its readers in a fixed order: deterministic for any thread count.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> grouped_cross_attention_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& idx, const at::Tensor& w, const at::Tensor& lse, const ReadingLayout& layout,
    double scale, bool softmax_one);

}  // namespace gca::kernels
