#pragma once
// Messages between GPUs: c10d's NCCL backend. It is in the device library, where that was built with NCCL's header;
// lib/parallel, to which the library is not linked, asks for it by name.

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <chrono>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace gca::cuda {

struct NcclRequest {
  c10::intrusive_ptr<c10d::Store> store;  ///< where the ranks meet; nothing else uses its keys
  int rank = 0;
  int size = 1;
  c10::Device device;                 ///< the GPU of this rank, and of no other
  std::chrono::milliseconds timeout;  ///< of a piece of work; its wait() then throws
};

/// Connects all ranks, which call it at once, and gives the backend. Throws c10::Error where that fails.
using OpenNccl = void(const NcclRequest& request, c10::intrusive_ptr<c10d::Backend>& backend);

/// The library's function of that type.
inline constexpr const char* kOpenNccl = "gca_open_nccl";

}  // namespace gca::cuda
