// Launches of the forward kernel, one instantiation for each head size and rounded chunk size.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/grouped_cross_attention/grouped_cross_attention_forward.cuh"

namespace gca::cuda {
namespace {

template <int kHeadDim, int kKeys>
int launch_variant(const GcaForwardParams& params, void* stream) {
  constexpr int kRowTiles = kHeadDim <= 64 && kKeys <= 64 ? 2 : 1;
  return launch(gca_forward_kernel<kHeadDim, kKeys, kRowTiles>, gca_forward_launch_shape(params.shape),
                stream, params);
}

template <int kHeadDim>
int launch_head_dim(const GcaForwardParams& params, void* stream) {
  switch (gca_forward_variant(params.shape).keys) {
    case 16:
      return launch_variant<kHeadDim, 16>(params, stream);
    case 32:
      return launch_variant<kHeadDim, 32>(params, stream);
    case 64:
      return launch_variant<kHeadDim, 64>(params, stream);
    default:
      return launch_variant<kHeadDim, 128>(params, stream);
  }
}

}  // namespace

int launch_gca_forward(const GcaForwardParams& params, void* stream) {
  switch (params.shape.head_dim) {
    case 32:
      return launch_head_dim<32>(params, stream);
    case 64:
      return launch_head_dim<64>(params, stream);
    default:
      return launch_head_dim<128>(params, stream);
  }
}

}  // namespace gca::cuda
