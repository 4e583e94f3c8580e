#include "kernels/linear/linear_few_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/common/named_work.h"
#include "kernels/common/tile_kernels.h"

namespace gca::kernels {
namespace {

/// Rows of W in one call: their sums stay in the first-level cache.
constexpr int64_t kBlock = 64;
/// Elements of W that are worth a thread.
constexpr int64_t kGrain = int64_t{1} << 16;

template <class Element, class RowProducts>
void multiply(int64_t rows, int64_t out, int64_t in, const float* x, const Element* weight, float* y,
              RowProducts row_products) {
  const int64_t blocks = (out + kBlock - 1) / kBlock;
  const int64_t grain = std::max<int64_t>(1, kGrain / (kBlock * in));
  at::parallel_for(0, blocks, grain, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kBlock;
      const int64_t count = std::min(kBlock, out - begin);
      for (int64_t i = 0; i < rows; ++i)
        row_products(count, in, x + i * in, weight + begin * in, y + i * out + begin);
    }
  });
}

}  // namespace

bool takes_few_rows(const at::Tensor& x, const at::Tensor& weight) {
  const at::ScalarType type = x.scalar_type();
  return x.numel() > 0 && x.numel() / x.size(-1) <= kFewRows && x.device().is_cpu() &&
         (type == at::kFloat || type == at::kBFloat16) && weight.scalar_type() == type &&
         weight.is_contiguous();
}

at::Tensor linear_few_rows(const at::Tensor& x_in, const at::Tensor& weight) {
  const NamedWork work("gca::linear_few_rows");
  const TileKernels& tiles = tile_kernels();
  const at::Tensor x = x_in.contiguous();
  const int64_t in = weight.size(1);
  const int64_t out = weight.size(0);
  const int64_t rows = x.numel() / in;
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out;
  at::Tensor y = at::empty(shape, x.options());

  if (x.scalar_type() == at::kFloat) {
    multiply(rows, out, in, x.const_data_ptr<float>(), weight.const_data_ptr<float>(),
             y.mutable_data_ptr<float>(),
             [&](int64_t count, int64_t depth, const float* a, const float* w, float* sum) {
               tiles.row_products(count, depth, a, w, depth, sum);
             });
    return y;
  }
  const auto* bits = static_cast<const uint16_t*>(x.const_data_ptr());
  std::vector<float> wide(static_cast<size_t>(rows * in));
  std::vector<float> sums(static_cast<size_t>(rows * out));
  tiles.widen_bf16(1, rows * in, bits, 0, wide.data(), 0);
  multiply(rows, out, in, wide.data(), static_cast<const uint16_t*>(weight.const_data_ptr()), sums.data(),
           [&](int64_t count, int64_t depth, const float* a, const uint16_t* w, float* sum) {
             tiles.row_products_bf16(count, depth, a, w, depth, sum);
           });
  tiles.narrow_bf16(1, rows * out, sums.data(), 0, static_cast<uint16_t*>(y.mutable_data_ptr()), 0);
  return y;
}

}  // namespace gca::kernels
