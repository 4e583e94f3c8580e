// Launches of the forward kernel for Hopper, one instantiation for each head size, rounded chunk size and
// number of warpgroups.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/grouped_cross_attention/grouped_cross_attention_forward_sm90.cuh"

namespace gca::cuda {
namespace {

template <int kHeadDim, int kKeys>
int launch_variant(const GcaForwardParams& params, void* stream) {
  const LaunchShape shape = gca_forward_sm90_launch_shape(params.shape);
  if constexpr (gca_forward_sm90_warpgroups(kHeadDim, kKeys) == 4) {
    if (shape.threads == 512)
      return launch(gca_forward_sm90_kernel<kHeadDim, kKeys, 4>, shape, stream, params);
    if (shape.threads == 384)
      return launch(gca_forward_sm90_kernel<kHeadDim, kKeys, 3>, shape, stream, params);
  }
  if (shape.threads == 256) return launch(gca_forward_sm90_kernel<kHeadDim, kKeys, 2>, shape, stream, params);
  return launch(gca_forward_sm90_kernel<kHeadDim, kKeys, 1>, shape, stream, params);
}

template <int kHeadDim>
int launch_head_dim(const GcaForwardParams& params, void* stream) {
  switch (round_up_keys(params.shape.keys)) {
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

int launch_gca_forward_sm90(const GcaForwardParams& params, void* stream) {
  return params.shape.head_dim == 64 ? launch_head_dim<64>(params, stream)
                                     : launch_head_dim<128>(params, stream);
}

}  // namespace gca::cuda
