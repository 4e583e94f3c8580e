#include "tests/cuda/gpu_launch.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace gca::testing {
namespace {

// The driver's interface, as far as it is used here (CUDA driver API, version-stable names).
using CuResult = int;
using CuAddress = uint64_t;
void* const kParamPointer = reinterpret_cast<void*>(1);
void* const kParamSize = reinterpret_cast<void*>(2);
void* const kParamEnd = nullptr;
constexpr int kDynamicSharedBytes = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr int kComputeCapability = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR

class Driver {
 public:
  Driver() : library_(dlopen("libcuda.so.1", RTLD_NOW)) {
    if (library_ == nullptr) throw std::runtime_error(std::string("no NVIDIA driver: ") + dlerror());
    int device = 0;
    void* context = nullptr;
    call("cuInit", 0U);
    call("cuDeviceGet", &device, 0);
    call("cuDevicePrimaryCtxRetain", &context, device);
    call("cuCtxSetCurrent", context);
  }

  /// Calls a function of the driver with exactly these argument types.
  template <class... Arguments>
  void call(const char* name, Arguments... arguments) {
    void* found = dlsym(library_, name);
    if (found == nullptr) throw std::runtime_error(std::string("the driver has no ") + name);
    const CuResult error = reinterpret_cast<CuResult (*)(Arguments...)>(found)(arguments...);
    if (error != 0) throw std::runtime_error(std::string(name) + ": error " + std::to_string(error));
  }

  void* kernel(const std::string& ptx_file, const std::string& entry) {
    void*& module = modules_[ptx_file];
    if (module == nullptr) {
      std::ifstream file(ptx_file);
      std::stringstream text;
      text << file.rdbuf();
      const std::string source = text.str();
      call("cuModuleLoadData", &module, static_cast<const void*>(source.c_str()));
    }
    void* function = nullptr;
    call("cuModuleGetFunction", &function, module, entry.c_str());
    return function;
  }

 private:
  void* library_;
  std::map<std::string, void*> modules_;
};

Driver& driver() {
  static Driver one;
  return one;
}

/// The buffers of a launch on the GPU.
class Copies {
 public:
  explicit Copies(ptx::GlobalMemory& memory) : memory_(memory) {
    for (const auto& buffer : memory.buffers()) {
      CuAddress& address = addresses_.emplace_back(0);
      driver().call("cuMemAlloc_v2", &address, static_cast<size_t>(buffer.size + 16));
      driver().call("cuMemcpyHtoD_v2", address, static_cast<const void*>(buffer.data),
                    static_cast<size_t>(buffer.size));
    }
  }
  ~Copies() {
    for (const CuAddress address : addresses_) driver().call("cuMemFree_v2", address);
  }
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;

  /// Argument words that are addresses of the machine become the GPU's.
  void translate(std::vector<uint8_t>& arguments) const {
    for (size_t place = 0; place + 8 <= arguments.size(); place += 8) {
      uint64_t word = 0;
      std::memcpy(&word, arguments.data() + place, 8);
      const uint64_t index = (word >> ptx::GlobalMemory::kOffsetBits) - ptx::GlobalMemory::kFirstBuffer;
      if (index >= addresses_.size()) continue;
      word = addresses_[index] + ptx::GlobalMemory::offset_of(word);
      std::memcpy(arguments.data() + place, &word, 8);
    }
  }
  void fetch() {
    for (size_t i = 0; i < addresses_.size(); ++i) {
      auto& buffer = memory_.buffers()[i];
      if (buffer.access != ptx::Access::read_only)
        driver().call("cuMemcpyDtoH_v2", static_cast<void*>(buffer.data), addresses_[i],
                      static_cast<size_t>(buffer.size));
    }
  }

 private:
  ptx::GlobalMemory& memory_;
  std::vector<CuAddress> addresses_;
};

}  // namespace

bool runs_on_gpu() {
  return std::getenv("GCA_TEST_GPU") != nullptr;
}

int gpu_capability() {
  int major = 0;
  driver().call("cuDeviceGetAttribute", &major, kComputeCapability, 0);
  return major;
}

void run_on_gpu(const std::string& ptx_file, const std::string& entry, const ptx::Launch& launch,
                ptx::GlobalMemory& memory) {
  Copies copies(memory);
  std::vector<uint8_t> arguments = launch.arguments;
  copies.translate(arguments);
  void* const function = driver().kernel(ptx_file, entry);
  const auto shared = static_cast<unsigned>(launch.dynamic_shared_bytes);
  driver().call("cuFuncSetAttribute", function, kDynamicSharedBytes, static_cast<int>(shared));
  size_t size = arguments.size();
  void* extra[] = {kParamPointer, arguments.data(), kParamSize, &size, kParamEnd};
  driver().call("cuLaunchKernel", function, launch.grid.x, launch.grid.y, launch.grid.z, launch.block.x,
                launch.block.y, launch.block.z, shared, static_cast<void*>(nullptr),
                static_cast<void**>(nullptr), static_cast<void**>(extra));
  driver().call("cuCtxSynchronize");
  copies.fetch();
}

}  // namespace gca::testing
