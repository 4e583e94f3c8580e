// Launches of the three backward kernels, one instantiation a head size.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/sliding_window_attention/sliding_window_attention_backward.cuh"

namespace gca::cuda {

int launch_window_dot(const WindowDotParams& params, void* stream) {
  const LaunchShape shape = window_dot_launch_shape(params.shape);
  switch (params.shape.head_dim) {
    case 32:
      return launch(window_dot_kernel<32>, shape, stream, params);
    case 64:
      return launch(window_dot_kernel<64>, shape, stream, params);
    default:
      return launch(window_dot_kernel<128>, shape, stream, params);
  }
}

int launch_window_backward_queries(const WindowBackwardParams& params, void* stream) {
  const LaunchShape shape = window_backward_queries_launch_shape(params.shape);
  switch (params.shape.head_dim) {
    case 32:
      return launch(window_backward_queries_kernel<32>, shape, stream, params);
    case 64:
      return launch(window_backward_queries_kernel<64>, shape, stream, params);
    default:
      return launch(window_backward_queries_kernel<128>, shape, stream, params);
  }
}

int launch_window_backward_keys(const WindowBackwardParams& params, void* stream) {
  const LaunchShape shape = window_backward_keys_launch_shape(params.shape);
  switch (params.shape.head_dim) {
    case 32:
      return launch(window_backward_keys_kernel<32>, shape, stream, params);
    case 64:
      return launch(window_backward_keys_kernel<64>, shape, stream, params);
    default:
      return launch(window_backward_keys_kernel<128>, shape, stream, params);
  }
}

}  // namespace gca::cuda
