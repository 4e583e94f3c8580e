// The row functions of one instruction set, compiled once for each like tile_kernels.cpp.
#include "kernels/common/row_kernels.h"

#include "kernels/common/row_vectors.h"

namespace gca::kernels {
namespace {

inline Vector root(Vector value) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(value);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(value);
#else
  for (int64_t lane = 0; lane < kLanes; ++lane) value[lane] = __builtin_sqrtf(value[lane]);
  return value;
#endif
}

template <typename Element>
void add_rms_norm(int64_t d, const float* x, const Element* update, const float* weight, float eps,
                  float* sum, Element* y, float* inverse_rms) {
  Vector squares = {};
  if (update != nullptr) {
    for_each_vector(d, [&](int64_t e, int64_t count) {
      const Vector value = load_some(x + e, count) + load_some(update + e, count);
      store_some(sum + e, count, value);
      squares = multiply_add(value, value, squares);
    });
    x = sum;
  } else {
    for_each_vector(d, [&](int64_t e, int64_t count) {
      const Vector value = load_some(x + e, count);
      squares = multiply_add(value, value, squares);
    });
  }
  const float scale = 1.0F / __builtin_sqrtf(lane_sum(squares) / static_cast<float>(d) + eps);
  *inverse_rms = scale;
  for_each_vector(d, [&](int64_t e, int64_t count) {
    store_some(y + e, count, load_some(weight + e, count) * (load_some(x + e, count) * scale));
  });
}

template <typename Element>
void rms_norm_backward(int64_t d, const Element* dy, const float* x, const float* weight, float inverse_rms,
                       const float* dsum, float* dx, Element* dupdate, float* dweight) {
  Vector projection = {};  // of g on n
  for_each_vector(d, [&](int64_t e, int64_t count) {
    const Vector gradient = load_some(dy + e, count);
    const Vector n = load_some(x + e, count) * inverse_rms;
    store_some(dweight + e, count, multiply_add(gradient, n, load_some(dweight + e, count)));
    projection = multiply_add(gradient * load_some(weight + e, count), n, projection);
  });
  const float mean = lane_sum(projection) / static_cast<float>(d);
  for_each_vector(d, [&](int64_t e, int64_t count) {
    const Vector g = load_some(dy + e, count) * load_some(weight + e, count);
    const Vector n = load_some(x + e, count) * inverse_rms;
    Vector value = (g - n * mean) * inverse_rms;
    if (dsum != nullptr) value += load_some(dsum + e, count);
    store_some(dx + e, count, value);
    if (dupdate != nullptr) store_some(dupdate + e, count, value);
  });
}

template <typename Element>
void swiglu(int64_t size, const Element* gate, const Element* up, Element* y) {
  for_each_vector(size, [&](int64_t e, int64_t count) {
    const Vector g = load_some(gate + e, count);
    store_some(y + e, count, g * sigmoid(g) * load_some(up + e, count));
  });
}

template <typename Element>
void swiglu_backward(int64_t size, const Element* dy, const Element* gate, const Element* up, Element* dgate,
                     Element* dup) {
  for_each_vector(size, [&](int64_t e, int64_t count) {
    const Vector gradient = load_some(dy + e, count);
    const Vector g = load_some(gate + e, count);
    const Vector s = sigmoid(g);
    const Vector slope = s * (1.0F + g * (1.0F - s));
    store_some(dgate + e, count, gradient * load_some(up + e, count) * slope);
    store_some(dup + e, count, gradient * g * s);
  });
}

void adamw(int64_t size, const AdamWCoefficients& c, const float* gradient, float* weight,
           float* first_moment, float* second_moment, uint16_t* copy) {
  for_each_vector(size, [&](int64_t e, int64_t count) {
    const Vector g = load_some(gradient + e, count) * c.gradient_scale;
    const Vector m = load_some(first_moment + e, count) * c.beta1 + g * (1.0F - c.beta1);
    const Vector v = load_some(second_moment + e, count) * c.beta2 + g * g * (1.0F - c.beta2);
    const Vector old = load_some(weight + e, count);
    const Vector step = m * c.step_size / (root(v * c.inverse_correction2) + c.epsilon);
    const Vector value = old - (step + old * c.decay);
    store_some(first_moment + e, count, m);
    store_some(second_moment + e, count, v);
    store_some(weight + e, count, value);
    if (copy != nullptr) store_some(copy + e, count, value);
  });
}

double sum_of_squares(int64_t size, const float* x) {
  using HalfVector = float __attribute__((vector_size(kLanes * 2)));
  using DoubleVector = double __attribute__((vector_size(kLanes * 4)));
  DoubleVector totals[2] = {};
  int64_t e = 0;
  for (; e + kLanes <= size; e += kLanes) {
    for (int64_t half = 0; half < 2; ++half) {
      HalfVector part;
      std::memcpy(&part, x + e + half * kLanes / 2, sizeof part);
      const DoubleVector wide = __builtin_convertvector(part, DoubleVector);
      totals[half] += wide * wide;
    }
  }
  double sum = 0;
  for (; e < size; ++e) sum += double{x[e]} * double{x[e]};
  for (int64_t lane = 0; lane < kLanes / 2; ++lane) sum += totals[0][lane] + totals[1][lane];
  return sum;
}

int64_t largest_difference(int64_t size, const float* a, const float* b) {
  Vector best = broadcast(-__builtin_inff());
  IntVector best_step = {};
  const int64_t steps = size / kLanes;
  for (int64_t step = 0; step < steps; ++step) {
    const Vector x = load(a + step * kLanes) - load(b + step * kLanes);
    best_step = x > best ? IntVector{} + static_cast<int32_t>(step) : best_step;
    best = larger(x, best);
  }
  float largest = -__builtin_inff();
  int64_t place = 0;
  const auto take = [&](float x, int64_t at) {
    if (x < largest || (x == largest && at > place)) return;
    largest = x;
    place = at;
  };
  for (int64_t lane = 0; steps > 0 && lane < kLanes; ++lane)
    take(best[lane], best_step[lane] * kLanes + lane);
  for (int64_t i = steps * kLanes; i < size; ++i) take(a[i] - b[i], i);
  return place;
}

using Bytes = int8_t __attribute__((vector_size(kLanes)));

template <typename Element>
void quantise_rows(int64_t rows, int64_t d, const Element* x, int8_t* q, float* scale) {
  // Adding 1.5 * 2^23 rounds to an integer.
  const Vector magic = broadcast(12582912.0F);
  for (int64_t row = 0; row < rows; ++row, x += d, q += d) {
    Vector tops = {};
    for_each_vector(d, [&](int64_t e, int64_t count) {
      const Vector value = load_some(x + e, count);
      tops = larger(larger(value, -value), tops);
    });
    const float top = largest_lane(tops);
    scale[row] = top / 127.0F;
    const Vector steps = broadcast(top > 0 ? 127.0F / top : 0.0F);
    for_each_vector(d, [&](int64_t e, int64_t count) {
      const Vector whole = (load_some(x + e, count) * steps + magic) - magic;
      const Bytes bytes = __builtin_convertvector(__builtin_convertvector(whole, IntVector), Bytes);
      std::memcpy(q + e, &bytes, static_cast<size_t>(count));
    });
  }
}

template <typename Element>
void restore_rows(int64_t rows, int64_t d, const int8_t* q, const float* scale, Element* x) {
  for (int64_t row = 0; row < rows; ++row, q += d, x += d) {
    const Vector step = broadcast(scale[row]);
    for_each_vector(
        d, [&](int64_t e, int64_t count) { store_some(x + e, count, load_some(q + e, count) * step); });
  }
}

}  // namespace

namespace GCA_ISA {

#define GCA_ISA_NAME_OF(isa) #isa
#define GCA_ISA_NAME(isa) GCA_ISA_NAME_OF(isa)

extern const RowKernelSet kRowKernels;
const RowKernelSet kRowKernels = {
    GCA_ISA_NAME(GCA_ISA),
    {add_rms_norm<float>, rms_norm_backward<float>, swiglu<float>, swiglu_backward<float>,
     quantise_rows<float>, restore_rows<float>},
    {add_rms_norm<uint16_t>, rms_norm_backward<uint16_t>, swiglu<uint16_t>, swiglu_backward<uint16_t>,
     quantise_rows<uint16_t>, restore_rows<uint16_t>},
    {adamw, sum_of_squares},
    {largest_difference}};

}  // namespace GCA_ISA
}  // namespace gca::kernels
