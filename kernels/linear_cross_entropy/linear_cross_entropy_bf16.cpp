// linear_cross_entropy on bf16 tiles:
//
//   z = x W^T    loss_i = logsumexp_v(z_iv) - z_i,target    dz = (softmax(z) - onehot(target)) / M
//   dx = dz W    dW = dz^T x
//
// Bound by the three products. Logits never leave a tile: as the sums of 64 x 64 of them are complete, they
// become p = exp(z - m) in bf16, with the largest m and the sum of each row of the tile in float32. When all
// tiles of a row are known, so is its logsumexp, and p needs one factor a tile, exp(m - logsumexp) / M, to be
// dz. Loss and statistics see float32 logits; dz is rounded as an operand of products is. kRowBlock rows of
// dz exist at a time: enough that dW, which is read and written once a block, costs little, and few enough
// that they stay in the last cache at moderate vocabularies.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/tile_kernels.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy_versions.h"
#include "kernels/matrix_product/blocked_product.h"

namespace gca::kernels {
namespace {

constexpr int64_t kRowBlock = 512;

class Bf16Loss {
 public:
  Bf16Loss(const Bf16TileKernels& kernels, const at::Tensor& x, const at::Tensor& weight,
           const at::Tensor& targets, bool gradients)
      : kernels_(kernels),
        rows_(x.size(0)),
        width_(x.size(1)),
        vocabulary_(weight.size(0)),
        panels_((vocabulary_ + kPanel - 1) / kPanel),
        dz_stride_(panels_ * kPanel + kPanel),  // no power of two, or rows would share cache sets
        x_(bits(x)),
        weight_(bits(weight)),
        targets_(targets.const_data_ptr<int64_t>()) {
    const int64_t block = std::min(kRowBlock, rows_);
    result_.loss = at::empty({rows_}, x.options().dtype(at::kFloat));
    largest_.resize(static_cast<size_t>(block * panels_));
    sum_.resize(largest_.size());
    target_logit_.resize(static_cast<size_t>(block));
    if (!gradients) return;
    result_.dx = at::empty_like(x);
    result_.dweight = at::empty({vocabulary_, width_}, x.options().dtype(at::kFloat));
    dz_memory_ = at::empty({block, dz_stride_}, x.options());
    dz_ = static_cast<uint16_t*>(dz_memory_.mutable_data_ptr());
  }

  LossAndGradients run() {
    for (int64_t begin = 0; begin < rows_; begin += kRowBlock) {
      const int64_t count = std::min(kRowBlock, rows_ - begin);
      make_probabilities(begin, count);
      normalise(begin, count);
      if (dz_ == nullptr) continue;
      make_dx(begin, count);
      add_dweight(begin, count);
    }
    return result_;
  }

 private:
  static const uint16_t* bits(const at::Tensor& tensor) {
    return static_cast<const uint16_t*>(tensor.const_data_ptr());
  }

  /// p in dz's place, with the statistics of its tiles and the logits of the targets.
  void make_probabilities(int64_t begin, int64_t count) {
    const LeftMatrices left{count, {{x_ + begin * width_, width_, false}}};
    const RightMatrix right{{weight_, width_, true}, width_};
    blocked_product(
        kernels_, vocabulary_, {&right, 1}, {&left, 1},
        [&](size_t, int64_t row, int64_t rows, int64_t column, int64_t columns, float* z, int64_t stride) {
          for (int64_t i = 0; i < rows; ++i) {
            const int64_t place = targets_[begin + row + i] - column;
            if (place >= 0 && place < columns)
              target_logit_[static_cast<size_t>(row + i)] = z[i * stride + place];
          }
          for (int64_t e = 0; e < columns; e += kPanel) {
            make_tile(row, rows, column + e, std::min(kPanel, columns - e), z + e, stride);
          }
        });
  }

  void make_tile(int64_t row, int64_t rows, int64_t column, int64_t columns, float* z, int64_t stride) {
    constexpr int64_t kRows = 64;
    float largest[kRows], sum[kRows];
    for (int64_t first = 0; first < rows; first += kRows) {
      const int64_t count = std::min(kRows, rows - first);
      uint16_t* p = dz_ == nullptr ? nullptr : dz_ + (row + first) * dz_stride_ + column;
      kernels_.softmax_rows(count, columns, z + first * stride, stride, largest, sum, p, dz_stride_);
      for (int64_t i = 0; i < count; ++i) {
        const auto place = static_cast<size_t>((row + first + i) * panels_ + column / kPanel);
        largest_[place] = largest[i];
        sum_[place] = sum[i];
      }
    }
  }

  /// Losses from the statistics, and dz from p.
  void normalise(int64_t begin, int64_t count) {
    auto* loss = result_.loss.mutable_data_ptr<float>();
    const float share = 1.0F / static_cast<float>(rows_);
    at::parallel_for(0, count, 8, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const float* largest = &largest_[static_cast<size_t>(i * panels_)];
        const float* sum = &sum_[static_cast<size_t>(i * panels_)];
        const float top = *std::max_element(largest, largest + panels_);
        double total = 0;
        for (int64_t panel = 0; panel < panels_; ++panel)
          total += static_cast<double>(sum[panel]) * static_cast<double>(std::exp(largest[panel] - top));
        const auto logsumexp = top + static_cast<float>(std::log(total));
        const float target_logit = target_logit_[static_cast<size_t>(i)];
        loss[begin + i] = logsumexp - target_logit;
        if (dz_ == nullptr) continue;
        uint16_t* dz = dz_ + i * dz_stride_;
        for (int64_t panel = 0; panel < panels_; ++panel)
          kernels_.scale_row(kPanel, share * std::exp(largest[panel] - logsumexp), dz + panel * kPanel);
        const float at_target = share * (std::exp(target_logit - logsumexp) - 1.0F);
        kernels_.round_rows(1, 1, &at_target, 1, dz + targets_[begin + i], 1);
      }
    });
  }

  void make_dx(int64_t begin, int64_t count) {
    const LeftMatrices left{count, {{dz_, dz_stride_, false}}};
    const RightMatrix right{{weight_, width_, false}, vocabulary_};
    const ProductTarget dx{.rounded = static_cast<uint16_t*>(result_.dx.mutable_data_ptr()) + begin * width_,
                           .stride = width_};
    blocked_product_to(kernels_, width_, {&right, 1}, {&left, 1}, {&dx, 1});
  }

  void add_dweight(int64_t begin, int64_t count) {
    const LeftMatrices left{vocabulary_, {{dz_, dz_stride_, true}}};
    const RightMatrix right{{x_ + begin * width_, width_, false}, count};
    const ProductTarget dweight{
        .sums = result_.dweight.mutable_data_ptr<float>(), .stride = width_, .add = begin > 0};
    blocked_product_to(kernels_, width_, {&right, 1}, {&left, 1}, {&dweight, 1});
  }

  const Bf16TileKernels& kernels_;
  int64_t rows_, width_, vocabulary_;  // M, d, V
  int64_t panels_;
  int64_t dz_stride_;
  const uint16_t *x_, *weight_;
  const int64_t* targets_;
  LossAndGradients result_;
  std::vector<float> largest_, sum_;  // (rows of a block, panels)
  std::vector<float> target_logit_;   // (rows of a block)
  at::Tensor dz_memory_;              // (rows of a block, dz_stride)
  uint16_t* dz_ = nullptr;            // null: no gradients wanted
};

}  // namespace

LossAndGradients linear_cross_entropy_bf16(const Bf16TileKernels& kernels, const at::Tensor& x,
                                           const at::Tensor& weight, const at::Tensor& targets,
                                           bool gradients) {
  return Bf16Loss(kernels, x.contiguous(), weight.contiguous(), targets.contiguous(), gradients).run();
}

}  // namespace gca::kernels
