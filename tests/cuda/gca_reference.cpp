#include "tests/cuda/gca_reference.h"

#include <algorithm>

#include "tests/cuda/numbers.h"

namespace gca::testing {

GcaTruth gca_truth(const GcaProblem& problem, bool rounded) {
  const cuda::GcaShape& s = problem.shape;
  const auto round = [rounded](double x) { return rounded ? rounded_to_bf16(x) : x; };
  const auto dh = static_cast<size_t>(s.head_dim), keys = static_cast<size_t>(s.keys),
             slots = static_cast<size_t>(s.slots);
  const auto heads = static_cast<size_t>(s.heads), kv_heads = static_cast<size_t>(s.kv_heads);
  GcaTruth t;
  t.out.assign(problem.q.size(), 0);
  t.dq.assign(problem.q.size(), 0);
  t.lse.assign(problem.q.size() / dh * slots, 0);
  t.delta.assign(t.lse.size(), 0);
  t.dk.assign(problem.k.size(), 0);
  t.dv.assign(problem.k.size(), 0);
  t.dw.assign(problem.w.size(), 0);
  for (size_t query = 0; query < problem.q.size() / dh; ++query) {
    const size_t head = query % heads;
    const size_t position = query / heads % static_cast<size_t>(s.positions);
    const size_t batch = query / heads / static_cast<size_t>(s.positions);
    const size_t row = (position + static_cast<size_t>(s.first_offset)) / static_cast<size_t>(s.chunk_size);
    const float* q = problem.q.data() + query * dh;
    const float* dout = problem.dout.empty() ? nullptr : problem.dout.data() + query * dh;
    for (size_t slot = 0; slot < slots; ++slot) {
      const size_t entry = (batch * static_cast<size_t>(s.rows) + row) * slots + slot;
      const int32_t chunk = problem.idx[entry];
      if (chunk < 0 || chunk >= s.chunks) continue;
      const double weight = problem.w[entry];
      const auto key_place = [&](size_t j) {
        return (((batch * static_cast<size_t>(s.chunks) + static_cast<size_t>(chunk)) * keys + j) * kv_heads +
                head / (heads / kv_heads)) *
               dh;
      };
      std::vector<double> p(keys), dp(keys);
      double largest = s.softmax_one != 0 ? 0.0 : -std::numeric_limits<double>::infinity();
      for (size_t j = 0; j < keys; ++j) {
        for (size_t e = 0; e < dh; ++e) {
          p[j] += double{q[e]} * problem.k[key_place(j) + e];
          if (dout != nullptr) dp[j] += double{dout[e]} * problem.v[key_place(j) + e];
        }
        p[j] *= s.scale;
        largest = std::max(largest, p[j]);
      }
      double denominator = s.softmax_one != 0 ? std::exp(-largest) : 0.0;
      for (double& x : p) denominator += x = std::exp(x - largest);
      const size_t stat = query * slots + slot;
      t.lse[stat] = largest + std::log(denominator);
      double delta = 0;
      for (size_t j = 0; j < keys; ++j) {
        p[j] /= denominator;
        delta += p[j] * dp[j];
        for (size_t e = 0; e < dh; ++e)
          t.out[query * dh + e] += weight * round(p[j]) * problem.v[key_place(j) + e];
      }
      if (dout == nullptr) continue;
      t.delta[stat] = delta;
      t.dw[entry] += delta;
      for (size_t j = 0; j < keys; ++j) {
        const double ds = round(weight * p[j] * (dp[j] - delta));
        for (size_t e = 0; e < dh; ++e) {
          t.dq[query * dh + e] += ds * problem.k[key_place(j) + e] * s.scale;
          t.dk[key_place(j) + e] += ds * q[e] * s.scale;
          t.dv[key_place(j) + e] += weight * round(p[j]) * dout[e];
        }
      }
    }
  }
  for (auto* results : {&t.out, &t.dq, &t.dk, &t.dv}) {
    for (double& x : *results) x = round(x);
  }
  return t;
}

GcaProblem random_gca_problem(const cuda::GcaShape& shape, uint64_t seed, double share_of_empty_slots) {
  GcaProblem problem;
  problem.shape = shape;
  RandomNumbers random(seed);
  const auto fill = [&](std::vector<float>& values, int64_t size, float scale) {
    values.resize(static_cast<size_t>(size));
    for (float& x : values) x = to_float(to_bf16(random.normal(scale)));
  };
  const int64_t queries = int64_t{shape.batch} * shape.positions * shape.heads;
  const int64_t keys = int64_t{shape.batch} * shape.chunks * shape.keys * shape.kv_heads;
  fill(problem.q, queries * shape.head_dim, 2);
  fill(problem.k, keys * shape.head_dim, 2);
  fill(problem.v, keys * shape.head_dim, 1);
  fill(problem.dout, queries * shape.head_dim, 1);
  for (int32_t batch = 0; batch < shape.batch; ++batch) {
    for (int32_t row = 0; row < shape.rows; ++row) {
      std::vector<int32_t> order(static_cast<size_t>(shape.chunks));
      for (int32_t c = 0; c < shape.chunks; ++c) order[static_cast<size_t>(c)] = c;
      for (size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
      for (int32_t slot = 0; slot < shape.slots; ++slot) {
        const bool none = row == 0 || slot >= shape.chunks || random.uniform() < share_of_empty_slots;
        problem.idx.push_back(none ? (row % 2 == 0 ? -1 : -7) : order[static_cast<size_t>(slot)]);
        problem.w.push_back(none ? kNan : static_cast<float>(random.uniform()));
      }
    }
  }
  return problem;
}

}  // namespace gca::testing
