#pragma once
// What the selective scan (kernels/selective_scan/selective_scan.h) does with a chunk of positions, once an
// instruction set (scan_kernels.cpp, compiled several times); scan_kernels() chooses. A vector is one of
// channels, so the number of states may be any.

#include <cstdint>

namespace gca::kernels {

/// Positions of a text, and of them neighbouring channels. `Element`: float, or bf16 as its bits (uint16_t).
template <typename Element>
struct ScanChunk {
  int64_t positions, channels, states;
  int64_t row_step;              ///< elements from one position of u, delta, z and out to the next
  int64_t state_step;            ///< floats from one state of a, of states and of their gradients to the next
  const Element *u, *delta, *z;  ///< (positions, channels)
  const Element *b, *c;          ///< (positions, states), dense
  const float* a;                ///< (states, channels): -exp(a_log), transposed
  const float *d, *delta_bias;   ///< (channels)
};

/// Gradients of a chunk. Those of b, c, a, d and delta_bias are added to what is there.
template <typename Element>
struct ScanGradients {
  const Element* dout;
  Element *du, *ddelta, *dz;  ///< (positions, channels), row_step apart
  float *db, *dc;             ///< (positions, states), dense
  float* da;                  ///< (states, channels), state_step apart
  float *dd, *ddelta_bias;    ///< (channels)
  float* dstate;              ///< (states, channels): of the state after the chunk, then of the one before it
};

template <typename Element>
struct ScanKernels {
  /// out (positions, channels), and `state` (states, channels) moved on to the end of the chunk.
  void (*forward)(const ScanChunk<Element>& in, float* state, Element* out);
  /// From the `state` that the chunk begins with. `scratch`: scan_scratch_size() floats.
  void (*backward)(const ScanChunk<Element>& in, const float* state, const ScanGradients<Element>& gradients,
                   float* scratch);
};

struct ScanKernelSet {
  const char* name;
  ScanKernels<float> of_float;
  ScanKernels<uint16_t> of_bf16;
};

/// Floats that the backward pass of a chunk works in.
constexpr int64_t scan_scratch_size(int64_t positions, int64_t states) {
  constexpr int64_t kMostLanes = 16;
  return (4 * states + 2) * positions * kMostLanes;
}

/// The best version that this processor runs.
const ScanKernelSet& scan_kernels();

}  // namespace gca::kernels
