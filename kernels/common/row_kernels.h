#pragma once
// What fused element-wise kernels do with one row or one block of elements, once an instruction set
// (row_kernels.cpp, compiled several times); row_kernels() chooses. All are bound by memory: each operand is
// read once and each result written once.

#include <cstdint>
#include <span>

namespace gca::kernels {

/// Coefficients of one AdamW update (kernels/adamw/adamw.h).
struct AdamWCoefficients {
  float gradient_scale;       ///< c
  float beta1, beta2;         ///< b1, b2
  float step_size;            ///< lr / (1 - b1^t)
  float inverse_correction2;  ///< 1 / (1 - b2^t)
  float epsilon;
  float decay;  ///< lr * decay
};

/// `Element`: the compute type's, float or bf16 as its bits (uint16_t). Any number of elements.
template <typename Element>
struct RowKernels {
  /// sum = x + update and y = weight * sum * inverse_rms over d elements. Without an update (null) sum is x
  /// and is not written.
  void (*add_rms_norm)(int64_t d, const float* x, const Element* update, const float* weight, float eps,
                       float* sum, Element* y, float* inverse_rms);

  /// With n = x * inverse_rms and g = dy * weight: dx = inverse_rms * (g - n * mean(g * n)), plus dsum where
  /// it is not null; dupdate = dx, where it is not null; dweight += dy * n.
  void (*rms_norm_backward)(int64_t d, const Element* dy, const float* x, const float* weight,
                            float inverse_rms, const float* dsum, float* dx, Element* dupdate,
                            float* dweight);

  /// y = silu(gate) * up.
  void (*swiglu)(int64_t count, const Element* gate, const Element* up, Element* y);
  /// dgate = dy * up * s (1 + gate (1 - s)) and dup = dy * gate * s, s = 1 / (1 + exp(-gate)).
  void (*swiglu_backward)(int64_t count, const Element* dy, const Element* gate, const Element* up,
                          Element* dgate, Element* dup);

  /// Rows of d numbers as whole numbers of steps, one step size per row: scale = max |x| / 127, q = round(x / scale).
  void (*quantise_rows)(int64_t rows, int64_t d, const Element* x, int8_t* q, float* scale);
  /// x = q * scale of each row.
  void (*restore_rows)(int64_t rows, int64_t d, const int8_t* q, const float* scale, Element* x);
};

struct UpdateKernels {
  /// One update in place; copy = the new weight in bf16, where it is not null.
  void (*adamw)(int64_t count, const AdamWCoefficients& coefficients, const float* gradient, float* weight,
                float* first_moment, float* second_moment, uint16_t* copy);
  /// In double.
  double (*sum_of_squares)(int64_t count, const float* x);
};

struct SearchKernels {
  /// Where the largest of a - b stands, the first of equal ones; count is at least 1.
  int64_t (*largest_difference)(int64_t count, const float* a, const float* b);
};

struct RowKernelSet {
  const char* name;
  RowKernels<float> of_float;
  RowKernels<uint16_t> of_bf16;
  UpdateKernels update;
  SearchKernels search;
};

/// The best version that this processor runs.
const RowKernelSet& row_kernels();

/// All versions that this processor runs, the best last. For tests.
std::span<const RowKernelSet* const> runnable_row_kernels();

}  // namespace gca::kernels
