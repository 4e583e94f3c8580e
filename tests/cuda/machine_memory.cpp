#include "tests/cuda/machine_memory.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>

#include "tests/ptx_machine/machine.h"

namespace gca::testing {
namespace {

constexpr size_t kAlignment = 512;  // as the CUDA allocators' blocks

struct Blocks {
  std::mutex mutex;
  std::map<uint64_t, size_t> sizes;  // by address
  std::map<std::string, int64_t> launches;
};
Blocks& blocks() {
  static Blocks all;
  return all;
}

/// Argument words that are addresses in a block become the machine's addresses of it. Sizes and strides are
/// far below any address of the host.
void translate_pointers(const std::map<uint64_t, size_t>& sizes, std::vector<uint8_t>& arguments,
                        ptx::GlobalMemory& memory) {
  std::map<uint64_t, ptx::DeviceAddress> known;
  for (size_t place = 0; place + 8 <= arguments.size(); place += 8) {
    uint64_t word = 0;
    std::memcpy(&word, arguments.data() + place, 8);
    const auto after = sizes.upper_bound(word);
    if (after == sizes.begin()) continue;
    const auto& [address, size] = *std::prev(after);
    if (word >= address + size) continue;
    const auto [entry, is_new] = known.try_emplace(address);
    if (is_new)
      entry->second = memory.add_bytes("argument+" + std::to_string(place),
                                       reinterpret_cast<std::byte*>(address), size, ptx::Access::read_write);
    word = entry->second + (word - address);
    std::memcpy(arguments.data() + place, &word, 8);
  }
}

}  // namespace

void* allocate_on_machine(size_t size) {
  if (size == 0) return nullptr;
  void* block = std::aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment);
  if (block == nullptr) throw std::bad_alloc();
  std::memset(block, 0xFF, size);  // NaN as float, double and bfloat16
  const std::lock_guard lock(blocks().mutex);
  blocks().sizes[reinterpret_cast<uint64_t>(block)] = size;
  return block;
}

void free_on_machine(void* block) {
  if (block == nullptr) return;
  const std::lock_guard lock(blocks().mutex);
  blocks().sizes.erase(reinterpret_cast<uint64_t>(block));
  std::free(block);
}

void run_on_machine(const std::string& file, const std::string& kernel, const cuda::LaunchShape& shape,
                    std::vector<uint8_t> arguments) {
  const std::lock_guard lock(blocks().mutex);
  ptx::GlobalMemory memory;
  translate_pointers(blocks().sizes, arguments, memory);
  const ptx::Launch launch{{shape.grid_x, shape.grid_y, shape.grid_z},
                           {shape.threads, 1, 1},
                           shape.shared_bytes,
                           std::move(arguments)};
  const ptx::Outcome outcome = ptx::run(cuda_kernel(file, kernel), launch, memory);
  ++blocks().launches[kernel.substr(0, kernel.find("ILi"))];
  if (!outcome.reports.empty()) throw std::runtime_error(outcome.reports_text());
}

int& machine_capability() {
  static int capability = 8;
  return capability;
}

std::map<std::string, int64_t> machine_launches() {
  const std::lock_guard lock(blocks().mutex);
  return blocks().launches;
}

}  // namespace gca::testing
