// Launches of the second backward pass and of the lists of readers that it walks.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/grouped_cross_attention/grouped_cross_attention_backward_chunks.cuh"

namespace gca::cuda {
namespace {

template <int kHeadDim>
int launch_head_dim(const GcaBackwardChunksParams& params, void* stream) {
  const LaunchShape shape = gca_backward_chunks_launch_shape(params.shape);
  switch (round_up_keys(params.shape.keys)) {
    case 16:
      return launch(gca_backward_chunks_kernel<kHeadDim, 16>, shape, stream, params);
    case 32:
      return launch(gca_backward_chunks_kernel<kHeadDim, 32>, shape, stream, params);
    case 64:
      return launch(gca_backward_chunks_kernel<kHeadDim, 64>, shape, stream, params);
    default:
      return launch(gca_backward_chunks_kernel<kHeadDim, 128>, shape, stream, params);
  }
}

}  // namespace

int launch_gca_backward_chunks(const GcaBackwardChunksParams& params, void* stream) {
  switch (params.shape.head_dim) {
    case 32:
      return launch_head_dim<32>(params, stream);
    case 64:
      return launch_head_dim<64>(params, stream);
    default:
      return launch_head_dim<128>(params, stream);
  }
}

int launch_gca_readers(const GcaReadersParams& params, void* stream) {
  return launch(gca_readers_kernel, gca_readers_launch_shape(params.batch, params.chunks), stream, params);
}

}  // namespace gca::cuda
