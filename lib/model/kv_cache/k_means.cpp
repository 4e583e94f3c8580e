// Nearest centres are looked for with float32 products, whose error is bounded; only centres that may be the
// nearest within that bound are compared in double. A point whose own centre stood still is compared with those
// that moved: of the others its own was the nearest before, and still is.

#include "lib/model/kv_cache/k_means.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/common/row_kernels.h"
#include "kernels/common/tile_kernels.h"
#include "kernels/common/tile_operand.h"

namespace gca::model {
namespace {

constexpr int kMostRounds = 300;
constexpr int64_t kBlockPoints = 64;

class KMeans {
 public:
  KMeans(const at::Tensor& points, int64_t centres)
      : n_(points.size(0)),
        e_(points.size(1)),
        C_(centres),
        points_(points.const_data_ptr<double>()),
        floats_(n_ * e_),
        length_(static_cast<size_t>(n_)),
        centres_(static_cast<size_t>(C_ * e_)),
        squares_(static_cast<size_t>(C_)) {
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t d = 0; d < e_; ++d) floats_.data()[i * e_ + d] = static_cast<float>(point(i)[d]);
      length_[static_cast<size_t>(i)] = std::sqrt(product(point(i), point(i)));
    }
  }

  std::vector<int32_t> run(const std::vector<double>& uniform) {
    std::vector<uint8_t> moved(static_cast<size_t>(C_), 1);
    const std::vector<int64_t> seeds = seeds_of(uniform);
    for (int64_t c = 0; c < C_; ++c) {
      std::copy_n(point(seeds[static_cast<size_t>(c)]), e_, centre(c));
      squares_[static_cast<size_t>(c)] = product(centre(c), centre(c));
    }
    labels_.assign(static_cast<size_t>(n_), -1);
    for (int round = 0; round < kMostRounds; ++round) {
      const std::vector<int32_t> before = labels_;
      relabel(moved);
      if (labels_ == before) break;
      moved = move_centres(before);
    }
    return labels_;
  }

 private:
  const double* point(int64_t i) const { return points_ + i * e_; }
  double* centre(int64_t c) { return centres_.data() + c * e_; }
  const double* centre(int64_t c) const { return centres_.data() + c * e_; }

  double product(const double* a, const double* b) const { return std::inner_product(a, a + e_, b, 0.0); }
  double squared_distance(const double* a, const double* b) const {
    double sum = 0;
    for (int64_t d = 0; d < e_; ++d) sum += (a[d] - b[d]) * (a[d] - b[d]);
    return sum;
  }
  /// Bounds the error of a float32 sum of e products of rounded factors whose vectors have these lengths.
  double product_error(double a_length, double b_length) const {
    return static_cast<double>(e_ + 8) * 0x1p-24 * a_length * b_length;
  }

  /// The points that are the first centres.
  std::vector<int64_t> seeds_of(const std::vector<double>& uniform) const {
    std::vector<int64_t> seeds;
    std::vector<double> nearest(static_cast<size_t>(n_), std::numeric_limits<double>::infinity());
    std::vector<double> running(nearest.size());
    std::vector<float> products(nearest.size());
    for (const double u : uniform) {
      int64_t seed = 0;
      if (seeds.empty()) {
        seed = std::min(static_cast<int64_t>(u * static_cast<double>(n_)), n_ - 1);
      } else {
        std::partial_sum(nearest.begin(), nearest.end(), running.begin());
        const auto over = std::upper_bound(running.begin(), running.end(), u * running.back());
        // Where all points lie on seeds, the first that is none.
        if (over == running.end())
          while (std::find(seeds.begin(), seeds.end(), seed) != seeds.end()) ++seed;
        else
          seed = over - running.begin();
      }
      seeds.push_back(seed);
      tiles_.row_products(n_, e_, floats_.data() + seed * e_, floats_.data(), e_, products.data());
      const double own = length_[static_cast<size_t>(seed)];
      for (size_t i = 0; i < nearest.size(); ++i) {
        const double least = length_[i] * length_[i] + own * own -
                             2 * (static_cast<double>(products[i]) + product_error(length_[i], own));
        if (least < nearest[i])
          nearest[i] = std::min(nearest[i], squared_distance(point(static_cast<int64_t>(i)), point(seed)));
      }
    }
    return seeds;
  }

  /// Some of the centres, for products with blocks of points.
  struct Packed {
    std::vector<int32_t> numbers;           // rising
    std::vector<float> half_squares;        // |c|^2 / 2
    int64_t width = 0;                      // their count, padded
    kernels::TileBuffer<float> transposed;  // (e, width)
    double longest = 0;                     // length
  };

  Packed pack(std::vector<int32_t> numbers) const {
    Packed packed;
    packed.width = kernels::padded_columns(static_cast<int64_t>(numbers.size()));
    packed.transposed = kernels::TileBuffer<float>(e_ * packed.width);
    for (size_t k = 0; k < numbers.size(); ++k) {
      const double square = squares_[static_cast<size_t>(numbers[k])];
      packed.half_squares.push_back(static_cast<float>(square / 2));
      packed.longest = std::max(packed.longest, std::sqrt(square));
      for (int64_t d = 0; d < e_; ++d)
        packed.transposed.data()[d * packed.width + static_cast<int64_t>(k)] =
            static_cast<float>(centre(numbers[k])[d]);
    }
    packed.numbers = std::move(numbers);
    return packed;
  }

  /// Labels all points after the centres `moved` did.
  void relabel(const std::vector<uint8_t>& moved) {
    std::vector<int32_t> all(static_cast<size_t>(C_)), of_moved;
    std::iota(all.begin(), all.end(), 0);
    std::copy_if(all.begin(), all.end(), std::back_inserter(of_moved),
                 [&](int32_t c) { return moved[static_cast<size_t>(c)] != 0; });
    std::vector<int64_t> at_home, away;
    for (int64_t i = 0; i < n_; ++i) {
      const int32_t own = labels_[static_cast<size_t>(i)];
      (own >= 0 && moved[static_cast<size_t>(own)] == 0 ? at_home : away).push_back(i);
    }
    relabel(away, pack(std::move(all)), /*own_too=*/false);
    if (!of_moved.empty()) relabel(at_home, pack(std::move(of_moved)), /*own_too=*/true);
  }

  /// Labels `which` by the nearest of `packed`, and of their own centre with `own_too`.
  void relabel(const std::vector<int64_t>& which, const Packed& packed, bool own_too) {
    const auto count = static_cast<int64_t>(packed.numbers.size());
    const kernels::TileBuffer<float> rows(kBlockPoints * e_), products(kBlockPoints * packed.width);
    for (size_t begin = 0; begin < which.size(); begin += kBlockPoints) {
      const size_t block = std::min<size_t>(kBlockPoints, which.size() - begin);
      for (size_t j = 0; j < block; ++j)
        std::copy_n(floats_.data() + which[begin + j] * e_, e_, rows.data() + static_cast<int64_t>(j) * e_);
      tiles_.product(static_cast<int64_t>(block), packed.width, e_, rows.data(), e_, 1,
                     packed.transposed.data(), packed.width, products.data(), packed.width, false, nullptr);
      for (size_t j = 0; j < block; ++j) {
        const int64_t i = which[begin + j];
        int32_t& label = labels_[static_cast<size_t>(i)];
        label = nearest(i, products.data() + static_cast<int64_t>(j) * packed.width, count, packed,
                        own_too ? label : -1);
      }
    }
  }

  /// The nearest of `packed` and `own` (-1: none): the least |c|^2 - 2 x . c, the lower number of equals.
  int32_t nearest(int64_t i, const float* products, int64_t count, const Packed& packed, int32_t own) const {
    const float* half = packed.half_squares.data();
    const int64_t best = search_.largest_difference(count, products, half);
    // Of x . c - |c|^2 / 2, both as computed.
    const double error = product_error(length_[static_cast<size_t>(i)], packed.longest) +
                         static_cast<double>(e_ + 8) * 0x1p-24 * packed.longest * packed.longest;
    const auto least = static_cast<float>(static_cast<double>(products[best] - half[best]) - 2 * error);
    const auto distance = [&](int32_t c) {
      return squares_[static_cast<size_t>(c)] - 2 * product(point(i), centre(c));
    };
    int32_t label = own >= 0 ? own : packed.numbers.front();
    double shortest = own >= 0 ? distance(own) : std::numeric_limits<double>::infinity();
    for (int64_t k = 0; k < count; ++k) {
      if (products[k] - half[k] < least) continue;
      const int32_t c = packed.numbers[static_cast<size_t>(k)];
      const double one = distance(c);
      if (one < shortest || (one == shortest && c < label)) {
        shortest = one;
        label = c;
      }
    }
    return label;
  }

  /// Centres become the means of their points; which of them moved.
  std::vector<uint8_t> move_centres(const std::vector<int32_t>& before) {
    // Of the others the points are the same, and so are the means.
    std::vector<uint8_t> moved(static_cast<size_t>(C_), 0);
    for (size_t i = 0; i < labels_.size(); ++i) {
      if (labels_[i] == before[i]) continue;
      moved[static_cast<size_t>(labels_[i])] = 1;
      if (before[i] >= 0) moved[static_cast<size_t>(before[i])] = 1;
    }
    std::vector<double> sums(static_cast<size_t>(C_ * e_), 0.0);
    std::vector<int64_t> count(static_cast<size_t>(C_), 0);
    for (int64_t i = 0; i < n_; ++i) {
      const int32_t label = labels_[static_cast<size_t>(i)];
      if (moved[static_cast<size_t>(label)] == 0) continue;
      ++count[static_cast<size_t>(label)];
      for (int64_t d = 0; d < e_; ++d) sums[static_cast<size_t>(label * e_ + d)] += point(i)[d];
    }
    for (int64_t c = 0; c < C_; ++c) {
      const int64_t members = count[static_cast<size_t>(c)];
      if (members == 0) {
        moved[static_cast<size_t>(c)] = 0;
        continue;
      }
      for (int64_t d = 0; d < e_; ++d)
        centre(c)[d] = sums[static_cast<size_t>(c * e_ + d)] / static_cast<double>(members);
      squares_[static_cast<size_t>(c)] = product(centre(c), centre(c));
    }
    return moved;
  }

  const kernels::TileKernels& tiles_ = kernels::tile_kernels();
  const kernels::SearchKernels& search_ = kernels::row_kernels().search;
  int64_t n_, e_, C_;
  const double* points_;               // (n, e)
  kernels::TileBuffer<float> floats_;  // (n, e)
  std::vector<double> length_;         // (n)
  std::vector<double> centres_;        // (C, e)
  std::vector<double> squares_;        // (C) of their lengths
  std::vector<int32_t> labels_;        // (n)
};

}  // namespace

std::vector<int32_t> k_means(const at::Tensor& points_in, const std::vector<double>& uniform) {
  const at::Tensor points = points_in.contiguous();
  return KMeans(points, static_cast<int64_t>(uniform.size())).run(uniform);
}

}  // namespace gca::model
