#pragma once
// What the bindings of CUDA kernels share: tensors to pointers, launches to errors.
//
// A binding (kernels/<operator>/<operator>_device.cpp) turns tensors into a kernel's arguments and is
// registered for the dispatch key GCA_DEVICE_KEY. It is compiled twice: for CUDA into the device library, for
// PrivateUse1 into tests, whose device runs the same kernels' PTX on the CPU. Results are allocated, inputs
// that the kernels cannot stride over are copied, nothing is computed.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>

#include <string>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

/// The stream that work on tensors of the current device goes to. Defined by the library or program that
/// holds the bindings, like the next.
void* current_stream();
/// The first number of the current device's compute capability: 8 for A100, 9 for H100, 10 for B200.
int compute_capability();
std::string launch_error_text(int error);

inline void check_launch(int error, const char* kernel) {
  TORCH_CHECK(error == 0, kernel, ": the launch failed: ", launch_error_text(error));
}

inline const Bf16* bf16_data(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.scalar_type() == at::kBFloat16, "CUDA kernels compute in bfloat16, got ",
              tensor.scalar_type(), ": use --dtype bf16");
  return static_cast<const Bf16*>(tensor.const_data_ptr());
}
inline Bf16* bf16_result(const at::Tensor& tensor) {
  return static_cast<Bf16*>(tensor.mutable_data_ptr());
}

/// Rows of the last dimension side by side and aligned to 16 bytes, any other strides: as it is, or a copy.
inline at::Tensor with_aligned_rows(const at::Tensor& tensor) {
  bool aligned = tensor.stride(-1) == 1 && tensor.storage_offset() % 8 == 0;
  for (int64_t dim = 0; dim + 1 < tensor.dim(); ++dim)
    aligned = aligned && (tensor.size(dim) == 1 || tensor.stride(dim) % 8 == 0);
  return aligned ? tensor : tensor.contiguous();
}

inline int32_t to_int32(int64_t value) {
  TORCH_CHECK(value >= 0 && value <= INT32_MAX, "a size of ", value, " is more than the CUDA kernels count");
  return static_cast<int32_t>(value);
}

}  // namespace gca::cuda
