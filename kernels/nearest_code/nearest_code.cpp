// Nearest codes.
//   fast       |k - C|^2 is least where <k, C> - |C|^2 / 2 is most: products, and a search of each row
//   reference  the distances, spelled out

#include "kernels/nearest_code/nearest_code.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/common/row_kernels.h"
#include "kernels/matrix_product/matrix_product.h"

namespace gca::kernels {
namespace {

/// Keys that are compared at once.
constexpr int64_t kKeys = 1024;

int64_t largest_difference(const float* a, const float* b, int64_t count) {
  return row_kernels().search.largest_difference(count, a, b);
}

/// In double, for tests.
int64_t largest_difference(const double* a, const double* b, int64_t count) {
  int64_t place = 0;
  for (int64_t i = 1; i < count; ++i)
    if (a[i] - b[i] > a[place] - b[place]) place = i;
  return place;
}

/// <k, C> (m, N) of keys (m, dh) and codes (N, dh) of one head.
at::Tensor products(const at::Tensor& keys, const at::Tensor& codes) {
  if (keys.scalar_type() != at::kBFloat16) return matrix_product(keys, codes.t(), codes.scalar_type());
  const at::Tensor high = codes.to(at::kBFloat16);
  const at::Tensor low = (codes - high.to(codes.scalar_type())).to(at::kBFloat16);
  const std::array<MatrixPair, 2> pairs = {{{keys, high.t()}, {keys, low.t()}}};
  return sum_of_matrix_products(pairs, codes.scalar_type());
}

void nearest_fast(const at::Tensor& keys, const at::Tensor& codes, const at::Tensor& z) {
  const int64_t H = keys.size(2), N = codes.size(1), count = keys.size(0) * keys.size(1);
  const at::Tensor half_squares = (codes * codes).sum(-1) / 2;  // (H, N)
  auto* numbers = z.mutable_data_ptr<int64_t>();
  for (int64_t h = 0; h < H; ++h) {
    const at::Tensor of_head = keys.select(2, h).reshape({count, keys.size(3)});
    for (int64_t first = 0; first < count; first += kKeys) {
      const int64_t m = std::min(kKeys, count - first);
      const at::Tensor closeness = products(of_head.narrow(0, first, m), codes[h]);
      AT_DISPATCH_FLOATING_TYPES(closeness.scalar_type(), "nearest_code", [&] {
        const auto* rows = closeness.const_data_ptr<scalar_t>();
        const auto* squares = half_squares.const_data_ptr<scalar_t>() + h * N;
        constexpr int64_t kGrain = 64;
        at::parallel_for(0, m, kGrain, [&](int64_t begin, int64_t end) {
          for (int64_t row = begin; row < end; ++row)
            numbers[(first + row) * H + h] = largest_difference(rows + row * N, squares, N);
        });
      });
    }
  }
}

void nearest_reference(const at::Tensor& keys, const at::Tensor& codes, const at::Tensor& z) {
  const at::Tensor wide = keys.to(codes.scalar_type());
  AT_DISPATCH_FLOATING_TYPES(codes.scalar_type(), "nearest_code", [&] {
    const auto k = wide.accessor<scalar_t, 4>();
    const auto c = codes.accessor<scalar_t, 3>();
    auto numbers = z.accessor<int64_t, 3>();
    for (int64_t b = 0; b < k.size(0); ++b)
      for (int64_t t = 0; t < k.size(1); ++t)
        for (int64_t h = 0; h < k.size(2); ++h) {
          scalar_t least = std::numeric_limits<scalar_t>::infinity();
          for (int64_t n = 0; n < c.size(1); ++n) {
            scalar_t distance = 0;
            for (int64_t e = 0; e < k.size(3); ++e)
              distance += (k[b][t][h][e] - c[h][n][e]) * (k[b][t][h][e] - c[h][n][e]);
            if (distance >= least) continue;
            least = distance;
            numbers[b][t][h] = n;
          }
        }
  });
}

}  // namespace

at::Tensor nearest_code(const at::Tensor& keys, const at::Tensor& codes) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(keys.dim() == 4 && codes.dim() == 3 && codes.size(0) == keys.size(2) &&
                  codes.size(2) == keys.size(3) && codes.size(1) > 0,
              "nearest_code: keys must be (B, L, H, dh) and codes (H, N, dh), got ", keys.sizes(), " and ",
              codes.sizes());
  const auto type = keys.scalar_type();
  TORCH_CHECK(codes.scalar_type() == (type == at::kDouble ? at::kDouble : at::kFloat),
              "nearest_code: codes must be float32, or double where keys are");
  at::Tensor z = at::zeros({keys.size(0), keys.size(1), keys.size(2)}, at::kLong);
  const bool is_plain = implementation() == Implementation::reference;
  (is_plain ? nearest_reference : nearest_fast)(keys.detach(), codes.contiguous(), z);
  return z;
}

}  // namespace gca::kernels
