#include "kernels/landmark_topk/coarse_landmarks.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace gca::kernels {
namespace {

constexpr double kLargestCode = 127;
constexpr int kCodeZero = 128;

double square(double x) {
  return x * x;
}

/// `x` rounded to a whole number of steps, given 1 / step.
double code_of(double x, double steps) {
  constexpr double kMagic = 6755399441055744.0;  // adding 1.5 * 2^52 rounds to an integer
  return std::clamp((x * steps + kMagic) - kMagic, -kLargestCode, kLargestCode);
}

double inverse_of(double step) {
  return step > 0 ? 1 / step : 0.0;
}

/// landmarks (64, d) to codes (groups, 64, 4) and centre (d); codes of a landmark that is not a number stay
/// as they are.
CoarseBounds encode(const float* landmarks, int64_t d, uint8_t* codes, float* centre) {
  std::vector<double> sums(static_cast<size_t>(d));
  for (int64_t i = 0; i < kCoarseRun; ++i)
    for (int64_t e = 0; e < d; ++e) sums[static_cast<size_t>(e)] += landmarks[i * d + e];
  double centre_square = 0, largest = 0;
  for (int64_t e = 0; e < d; ++e) {
    centre[e] = static_cast<float>(sums[static_cast<size_t>(e)] / kCoarseRun);
    centre_square += square(centre[e]);
  }
  for (int64_t i = 0; i < kCoarseRun; ++i) {
#pragma omp simd reduction(max : largest)
    for (int64_t e = 0; e < d; ++e)
      largest = std::max(largest, std::abs(double{landmarks[i * d + e]} - double{centre[e]}));
  }
  CoarseBounds run{};
  if (!std::isfinite(centre_square) || !std::isfinite(largest)) {
    run.landmark_norm = std::numeric_limits<double>::infinity();
    return run;
  }

  run.step = largest / kLargestCode;
  const double steps = inverse_of(run.step);
  std::vector<uint8_t> row(static_cast<size_t>((d + kInt8Group - 1) / kInt8Group * kInt8Group), kCodeZero);
  for (int64_t i = 0; i < kCoarseRun; ++i) {
    double code_square = 0, rest_square = 0, landmark_square = 0;
#pragma omp simd reduction(+ : code_square, rest_square, landmark_square)
    for (int64_t e = 0; e < d; ++e) {
      const double landmark = landmarks[i * d + e], off_centre = landmark - double{centre[e]};
      const double code = code_of(off_centre, steps);
      row[static_cast<size_t>(e)] = static_cast<uint8_t>(static_cast<int>(code) + kCodeZero);
      code_square += square(run.step * code);
      rest_square += square(off_centre - run.step * code);
      landmark_square += square(landmark);
    }
    for (size_t e = 0; e < row.size(); e += kInt8Group)
      std::memcpy(codes + (e * kCoarseRun + static_cast<size_t>(i) * kInt8Group), row.data() + e, kInt8Group);
    run.code_norm = std::max(run.code_norm, std::sqrt(code_square));
    run.rest_norm = std::max(run.rest_norm, std::sqrt(rest_square));
    run.landmark_norm = std::max(run.landmark_norm, std::sqrt(landmark_square));
  }
  run.landmark_norm += std::sqrt(centre_square);
  return run;
}

}  // namespace

CoarseLandmarks::CoarseLandmarks(int64_t d, int64_t capacity)
    : codes_(
          at::empty({capacity / kCoarseRun, CoarseRuns{.d = d}.groups(), kCoarseRun, kInt8Group}, at::kByte)),
      centres_(at::empty({capacity / kCoarseRun, d}, at::kFloat)) {
  bounds_.reserve(static_cast<size_t>(capacity / kCoarseRun));
}

void CoarseLandmarks::append(const float* landmarks, int64_t runs) {
  TORCH_CHECK(run_count() + runs <= codes_.size(0), "coarse landmarks: ", run_count(), " + ", runs,
              " runs in room for ", codes_.size(0));
  const int64_t d = centres_.size(1), before = run_count();
  const int64_t code_bytes = codes_.stride(0);
  auto* codes = codes_.mutable_data_ptr<uint8_t>() + before * code_bytes;
  auto* centres = centres_.mutable_data_ptr<float>() + before * d;
  bounds_.resize(static_cast<size_t>(before + runs));
  at::parallel_for(0, runs, 8, [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run)
      bounds_[static_cast<size_t>(before + run)] =
          encode(landmarks + run * kCoarseRun * d, d, codes + run * code_bytes, centres + run * d);
  });
}

CoarseRuns CoarseLandmarks::runs(int64_t first, int64_t count) const {
  const CoarseRuns all = {run_count(), centres_.size(1), codes_.const_data_ptr<uint8_t>(),
                          centres_.const_data_ptr<float>(), bounds_.data()};
  return all.part(first, count);
}

int64_t CoarseLandmarks::size_bytes() const {
  return static_cast<int64_t>(codes_.nbytes() + centres_.nbytes());
}

CoarseQuery::CoarseQuery(const float* q, int64_t d)
    : codes(static_cast<size_t>(CoarseRuns{.d = d}.groups() * kInt8Group)),
      rounding(2.0 * static_cast<double>(d + 8) * std::numeric_limits<float>::epsilon()) {
  double norm_square = 0, largest = 0;
  for (int64_t e = 0; e < d; ++e) {
    norm_square += square(q[e]);
    largest = std::max(largest, std::abs(double{q[e]}));
  }
  norm = std::sqrt(norm_square);
  step = std::isfinite(norm) ? largest / kLargestCode : 0.0;
  const double steps = inverse_of(step);
  double rest_square = 0;
  for (int64_t e = 0; e < d; ++e) {
    const double code = step > 0 ? code_of(q[e], steps) : 0.0;
    codes[static_cast<size_t>(e)] = static_cast<int8_t>(code);
    code_sum += code;
    rest_square += square(q[e] - step * code);
  }
  rest_norm = std::sqrt(rest_square);
}

ScoreBounds::ScoreBounds(const CoarseQuery& query, const CoarseBounds& run, float centre_score)
    : step(query.step * run.step) {
  const double greatest = query.norm * run.landmark_norm;
  // Near its end float32 overflows, and near zero it loses what is left of a product.
  const double rounded = greatest < std::numeric_limits<float>::max() / 2
                             ? query.rounding * greatest + 1e-30
                             : std::numeric_limits<double>::infinity();
  const double margin = query.rest_norm * run.code_norm + query.norm * run.rest_norm + rounded;
  const double middle = centre_score - step * kCodeZero * query.code_sum;
  least_base = middle - margin;
  most_base = middle + margin;
}

int32_t ScoreBounds::product_limit(double bar) const {
  constexpr double kLowest = std::numeric_limits<int32_t>::min(),
                   kHighest = std::numeric_limits<int32_t>::max();
  const double limit = std::floor((bar - most_base) / step);
  return std::isnan(limit) ? std::numeric_limits<int32_t>::min()
                           : static_cast<int32_t>(std::clamp(limit, kLowest, kHighest));
}

}  // namespace gca::kernels
