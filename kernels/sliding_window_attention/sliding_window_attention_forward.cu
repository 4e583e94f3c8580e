// Launches of the forward kernel, one instantiation a head size.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/sliding_window_attention/sliding_window_attention_forward.cuh"

namespace gca::cuda {

int launch_window_forward(const WindowForwardParams& params, void* stream) {
  const LaunchShape shape = window_forward_launch_shape(params.shape);
  switch (params.shape.head_dim) {
    case 32:
      return launch(window_forward_kernel<32>, shape, stream, params);
    case 64:
      return launch(window_forward_kernel<64>, shape, stream, params);
    default:
      return launch(window_forward_kernel<128>, shape, stream, params);
  }
}

}  // namespace gca::cuda
