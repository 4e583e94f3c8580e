// The selective scan of one instruction set, compiled once for each like tile_kernels.cpp.
#include "kernels/common/scan_kernels.h"

#include <algorithm>

#include "kernels/common/row_vectors.h"

namespace gca::kernels {
namespace {

inline float widened(float value) {
  return value;
}
inline float widened(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

/// ln(1 + e^x) with a relative error of about 1e-7.
inline Vector softplus(Vector x) {
  // ln(1 + e) = 2 artanh(s) with s = e / (2 + e) and e = e^-|x|, so that small results keep their digits; s is
  // at most 1/3, and s^18 below 1e-8.
  const Vector e = exponential(-larger(x, -x));
  const Vector s = e / (e + 2.0F);
  const Vector square = s * s;
  Vector series = broadcast(2.0F / 17.0F);
  for (int odd = 15; odd > 0; odd -= 2)
    series = multiply_add(series, square, broadcast(2.0F / static_cast<float>(odd)));
  return larger(x, Vector{}) + series * s;
}

template <typename Element>
void forward(const ScanChunk<Element>& in, float* state, Element* out) {
  for_each_vector(in.channels, [&](int64_t e, int64_t count) {
    const Vector bias = load_some(in.delta_bias + e, count);
    const Vector d = load_some(in.d + e, count);
    for (int64_t t = 0; t < in.positions; ++t) {
      const int64_t place = t * in.row_step + e;
      const Element* b = in.b + t * in.states;
      const Element* c = in.c + t * in.states;
      const Vector u = load_some(in.u + place, count);
      const Vector dt = softplus(load_some(in.delta + place, count) + bias);
      const Vector added = dt * u;
      Vector y = d * u;
      for (int64_t n = 0; n < in.states; ++n) {
        float* s = state + n * in.state_step + e;
        const Vector decay = exponential(dt * load_some(in.a + n * in.state_step + e, count));
        const Vector next = multiply_add(decay, load_some(s, count), added * widened(b[n]));
        store_some(s, count, next);
        y = multiply_add(next, broadcast(widened(c[n])), y);
      }
      const Vector z = load_some(in.z + place, count);
      store_some(out + place, count, y * z * sigmoid(z));
    }
  });
}

/// Vectors that the backward pass keeps: of every position and state, and of every position.
class BackwardScratch {
 public:
  BackwardScratch(int64_t positions, int64_t states, float* floats) : positions_(positions), states_(states) {
    float* next = floats;
    for (float** part : {&states_after, &decays, &db, &dc}) {
      *part = next;
      next += positions * states * kLanes;
    }
    for (float** part : {&steps, &sums}) {
      *part = next;
      next += positions * kLanes;
    }
    std::fill_n(db, positions * states * kLanes, 0.0F);
    std::fill_n(dc, positions * states * kLanes, 0.0F);
  }
  int64_t at(int64_t t, int64_t n) const { return (t * states_ + n) * kLanes; }

  /// to += the lanes of `from` added up, for every position and state.
  void add_lane_sums(const float* from, float* to) const {
    for (int64_t i = 0; i < positions_ * states_; ++i) to[i] += lane_sum(load(from + i * kLanes));
  }

  float *states_after, *decays, *db, *dc;  // of a position and state
  float *steps, *sums;                     // dt, and y before the gate, of a position

 private:
  int64_t positions_, states_;
};

/// States, decays, steps and sums of the chunk once more.
template <typename Element>
void run_again(const ScanChunk<Element>& in, int64_t e, int64_t count, const float* state,
               const BackwardScratch& scratch) {
  const Vector bias = load_some(in.delta_bias + e, count);
  const Vector d = load_some(in.d + e, count);
  for (int64_t t = 0; t < in.positions; ++t) {
    const int64_t place = t * in.row_step + e;
    const Vector u = load_some(in.u + place, count);
    const Vector dt = softplus(load_some(in.delta + place, count) + bias);
    const Vector added = dt * u;
    Vector y = d * u;
    for (int64_t n = 0; n < in.states; ++n) {
      const Vector before = t > 0 ? load(scratch.states_after + scratch.at(t - 1, n))
                                  : load_some(state + n * in.state_step + e, count);
      const Vector decay = exponential(dt * load_some(in.a + n * in.state_step + e, count));
      const Vector after = multiply_add(decay, before, added * widened(in.b[t * in.states + n]));
      store(scratch.decays + scratch.at(t, n), decay);
      store(scratch.states_after + scratch.at(t, n), after);
      y = multiply_add(after, broadcast(widened(in.c[t * in.states + n])), y);
    }
    store(scratch.steps + t * kLanes, dt);
    store(scratch.sums + t * kLanes, y);
  }
}

inline void add_to(float* to, int64_t count, Vector value) {
  store_some(to, count, load_some(to, count) + value);
}

template <typename Element>
void backward(const ScanChunk<Element>& in, const float* state, const ScanGradients<Element>& out,
              float* floats) {
  const BackwardScratch scratch(in.positions, in.states, floats);
  for_each_vector(in.channels, [&](int64_t e, int64_t count) {
    run_again(in, e, count, state, scratch);
    const Vector bias = load_some(in.delta_bias + e, count);
    const Vector d = load_some(in.d + e, count);
    Vector dd = {};
    Vector dbias = {};
    for (int64_t t = in.positions - 1; t >= 0; --t) {
      const int64_t place = t * in.row_step + e;
      const Vector u = load_some(in.u + place, count);
      const Vector z = load_some(in.z + place, count);
      const Vector dout = load_some(out.dout + place, count);
      const Vector dt = load(scratch.steps + t * kLanes);
      const Vector s = sigmoid(z);
      const Vector dy = dout * z * s;
      store_some(out.dz + place, count, dout * load(scratch.sums + t * kLanes) * s * (1.0F + z * (1.0F - s)));
      dd = multiply_add(dy, u, dd);
      Vector ddt = {};     // through the decays
      Vector dadded = {};  // of dt u
      for (int64_t n = 0; n < in.states; ++n) {
        const int64_t at_state = n * in.state_step + e;
        const Vector before =
            t > 0 ? load(scratch.states_after + scratch.at(t - 1, n)) : load_some(state + at_state, count);
        const Vector decay = load(scratch.decays + scratch.at(t, n));
        const Vector c = broadcast(widened(in.c[t * in.states + n]));
        const Vector ds = multiply_add(dy, c, load_some(out.dstate + at_state, count));
        float* dc = scratch.dc + scratch.at(t, n);
        float* db = scratch.db + scratch.at(t, n);
        store(dc, multiply_add(dy, load(scratch.states_after + scratch.at(t, n)), load(dc)));
        store(db, multiply_add(ds, dt * u, load(db)));
        dadded = multiply_add(ds, broadcast(widened(in.b[t * in.states + n])), dadded);
        const Vector dexponent = ds * before * decay;
        ddt = multiply_add(dexponent, load_some(in.a + at_state, count), ddt);
        add_to(out.da + at_state, count, dexponent * dt);
        store_some(out.dstate + at_state, count, ds * decay);
      }
      store_some(out.du + place, count, multiply_add(dadded, dt, dy * d));
      const Vector ddelta = multiply_add(dadded, u, ddt) * sigmoid(load_some(in.delta + place, count) + bias);
      store_some(out.ddelta + place, count, ddelta);
      dbias += ddelta;
    }
    add_to(out.dd + e, count, dd);
    add_to(out.ddelta_bias + e, count, dbias);
  });
  scratch.add_lane_sums(scratch.db, out.db);
  scratch.add_lane_sums(scratch.dc, out.dc);
}

}  // namespace

namespace GCA_ISA {

#define GCA_ISA_NAME_OF(isa) #isa
#define GCA_ISA_NAME(isa) GCA_ISA_NAME_OF(isa)

extern const ScanKernelSet kScanKernels;
const ScanKernelSet kScanKernels = {
    GCA_ISA_NAME(GCA_ISA), {forward<float>, backward<float>}, {forward<uint16_t>, backward<uint16_t>}};

}  // namespace GCA_ISA
}  // namespace gca::kernels
