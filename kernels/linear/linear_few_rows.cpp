#include "kernels/linear/linear_few_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "kernels/common/bf16_tile_kernels.h"
#include "kernels/common/named_work.h"
#include "kernels/common/thread_workspace.h"
#include "kernels/common/tile_kernels.h"

namespace gca::kernels {
namespace {

/// Rows of W in one call: their sums stay in the first-level cache.
constexpr int64_t kBlock = 64;
/// Elements of W that are worth a thread.
constexpr int64_t kGrain = int64_t{1} << 16;

const uint16_t* bits(const at::BFloat16* numbers) {
  return reinterpret_cast<const uint16_t*>(numbers);
}

struct WideMemory;

/// x (in) in float, until this thread's next call.
const float* widened(int64_t in, const at::BFloat16* x) {
  float* wide = ThreadWorkspace<float, WideMemory>::get(in);
  tile_kernels().widen_bf16(1, in, bits(x), in, wide, in);
  return wide;
}

/// y (rows, out) in float; `weight_from` gives the rows of W from a row on.
template <typename Element, typename WeightFrom>
void multiply(int64_t rows, int64_t out, int64_t in, const Element* x, const WeightFrom& weight_from,
              float* y) {
  const int64_t blocks = (out + kBlock - 1) / kBlock;
  const int64_t grain = std::max<int64_t>(1, kGrain / (kBlock * in));
  at::parallel_for(0, blocks, grain, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kBlock;
      const int64_t count = std::min(kBlock, out - begin);
      for (int64_t i = 0; i < rows; ++i)
        multiply_rows(count, in, x + i * in, weight_from(begin), y + i * out + begin);
    }
  });
}

bool are_few_rows(const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  return x.numel() > 0 && x.numel() / x.size(-1) <= kFewRows && x.device().is_cpu() &&
         (type == at::kFloat || type == at::kBFloat16);
}

/// x (.., in) -> (.., out); `multiply_all` (rows, x, y) writes the products in float.
template <typename MultiplyAll>
at::Tensor multiplied(const at::Tensor& x_in, int64_t out, at::ScalarType out_dtype,
                      const MultiplyAll& multiply_all) {
  const NamedWork work("gca::linear_few_rows");
  const at::Tensor x = x_in.contiguous();
  const int64_t rows = x.numel() / x.size(-1);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out;
  at::Tensor y = at::empty(shape, x.options().dtype(at::kFloat));
  auto* sums = y.mutable_data_ptr<float>();
  if (x.scalar_type() == at::kFloat) {
    multiply_all(rows, x.const_data_ptr<float>(), sums);
  } else {
    multiply_all(rows, x.const_data_ptr<at::BFloat16>(), sums);
  }
  if (out_dtype == at::kFloat) return y;
  at::Tensor rounded = at::empty(shape, x.options().dtype(out_dtype));
  tile_kernels().narrow_bf16(1, rows * out, sums, 0, static_cast<uint16_t*>(rounded.mutable_data_ptr()), 0);
  return rounded;
}

}  // namespace

void multiply_rows(int64_t rows, int64_t in, const float* x, const float* weight, float* y) {
  tile_kernels().row_products(rows, in, x, weight, in, y);
}

void multiply_rows(int64_t rows, int64_t in, const at::BFloat16* x, const at::BFloat16* weight, float* y) {
  if (const Bf16TileKernels* kernels = bf16_tile_kernels())
    return kernels->row_products(rows, in, bits(x), bits(weight), in, y);
  tile_kernels().row_products_bf16(rows, in, widened(in, x), bits(weight), in, y);
}

void multiply_rows(int64_t rows, int64_t in, const float* x, const Int8Rows& weight, float* y) {
  tile_kernels().row_products_int8(rows, in, x, weight.q, in, y);
  for (int64_t o = 0; o < rows; ++o) y[o] *= weight.scale[o];
}

void multiply_rows(int64_t rows, int64_t in, const at::BFloat16* x, const Int8Rows& weight, float* y) {
  multiply_rows(rows, in, widened(in, x), weight, y);
}

bool takes_few_rows(const at::Tensor& x, const at::Tensor& weight) {
  return are_few_rows(x) && weight.scalar_type() == x.scalar_type() && weight.is_contiguous();
}

bool takes_few_rows(const at::Tensor& x, const Int8Weight& /*weight*/) {
  return are_few_rows(x);
}

at::Tensor linear_few_rows(const at::Tensor& x, const at::Tensor& weight, at::ScalarType out_dtype) {
  const int64_t out = weight.size(0), in = weight.size(1);
  return multiplied(x, out, out_dtype,
                    [&]<typename Element>(int64_t rows, const Element* numbers, float* sums) {
                      const auto* first = weight.const_data_ptr<Element>();
                      multiply(
                          rows, out, in, numbers, [&](int64_t row) { return first + row * in; }, sums);
                    });
}

at::Tensor linear_few_rows(const at::Tensor& x, const Int8Weight& weight, at::ScalarType out_dtype) {
  const int64_t out = weight.q.size(0), in = weight.q.size(1);
  return multiplied(x, out, out_dtype, [&](int64_t rows, const auto* numbers, float* sums) {
    multiply(
        rows, out, in, numbers, [&](int64_t row) { return weight.rows_from(row); }, sums);
  });
}

}  // namespace gca::kernels
