// Launches of RMSNorm: one instantiation for each number of vectors a lane and type of y.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/rms_norm/rms_norm.cuh"

namespace gca::cuda {
namespace {

template <class Y>
int launch_forward(const RmsNormParams& params, void* stream) {
  const LaunchShape shape = rms_norm_launch_shape(params.rows);
  switch (rms_norm_vectors(params.d)) {
    case 4:
      return launch(rms_norm_kernel<4, Y>, shape, stream, params);
    case 8:
      return launch(rms_norm_kernel<8, Y>, shape, stream, params);
    default:
      return launch(rms_norm_kernel<16, Y>, shape, stream, params);
  }
}

template <class Y>
int launch_backward(const RmsNormBackwardParams& params, void* stream) {
  const LaunchShape shape = rms_norm_backward_launch_shape(params.rows, params.d);
  switch (rms_norm_vectors(params.d)) {
    case 4:
      return launch(rms_norm_backward_kernel<4, Y>, shape, stream, params);
    case 8:
      return launch(rms_norm_backward_kernel<8, Y>, shape, stream, params);
    default:
      return launch(rms_norm_backward_kernel<16, Y>, shape, stream, params);
  }
}

}  // namespace

int launch_rms_norm(const RmsNormParams& params, void* stream) {
  return params.y_is_float != 0 ? launch_forward<float>(params, stream)
                                : launch_forward<Bf16>(params, stream);
}

int launch_rms_norm_backward(const RmsNormBackwardParams& params, void* stream) {
  return params.dy_is_float != 0 ? launch_backward<float>(params, stream)
                                 : launch_backward<Bf16>(params, stream);
}

}  // namespace gca::cuda
