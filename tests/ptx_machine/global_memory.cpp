#include "tests/ptx_machine/global_memory.h"

#include <algorithm>
#include <bit>

namespace ptx {

DeviceAddress GlobalMemory::add_bytes(std::string name, std::byte* data, uint64_t size, Access access) {
  Buffer buffer;
  buffer.name = std::move(name);
  buffer.data = data;
  buffer.size = size;
  buffer.access = access;
  if (access == Access::write_first) buffer.written.resize(size);
  buffer.read_sectors.resize((size / 32 + 64) / 64 + 1);
  buffer.written_sectors.resize(access == Access::read_only ? 0 : buffer.read_sectors.size());
  buffers_.push_back(std::move(buffer));
  return (kFirstBuffer + buffers_.size() - 1) << kOffsetBits;
}

DeviceAddress GlobalMemory::variable(const std::string& name, const std::vector<uint8_t>& content,
                                     Access access) {
  const auto [found, is_new] = variables_.try_emplace(name);
  ModuleVariable& variable = found->second;
  if (is_new) {
    variable.content = content;
    variable.address = add_bytes(name, reinterpret_cast<std::byte*>(variable.content.data()),
                                 variable.content.size(), access);
  }
  return variable.address;
}

void GlobalMemory::begin_launch(bool check_races) {
  for (Buffer& buffer : buffers_) {
    std::fill(buffer.read_sectors.begin(), buffer.read_sectors.end(), 0);
    std::fill(buffer.written_sectors.begin(), buffer.written_sectors.end(), 0);
    const bool shadowed = check_races && buffer.access != Access::read_only;
    buffer.write_shadow.assign(shadowed ? buffer.size / 4 + 1 : 0, 0);
    buffer.read_shadow.assign(buffer.write_shadow.size(), 0);
  }
}

namespace {

uint64_t set_bits(const std::vector<uint64_t>& words) {
  uint64_t count = 0;
  for (const uint64_t word : words) count += static_cast<uint64_t>(std::popcount(word));
  return count;
}

}  // namespace

uint64_t GlobalMemory::bytes_read() const {
  uint64_t sectors = 0;
  for (const Buffer& buffer : buffers_) sectors += set_bits(buffer.read_sectors);
  return 32 * sectors;
}

uint64_t GlobalMemory::bytes_written() const {
  uint64_t sectors = 0;
  for (const Buffer& buffer : buffers_) sectors += set_bits(buffer.written_sectors);
  return 32 * sectors;
}

std::string GlobalMemory::describe(DeviceAddress address) const {
  const uint64_t index = (address >> kOffsetBits) - kFirstBuffer;
  if (index >= buffers_.size()) return "no buffer";
  const Buffer& buffer = buffers_[index];
  return buffer.name + "+" + std::to_string(offset_of(address)) + " of " + std::to_string(buffer.size) +
         " bytes";
}

}  // namespace ptx
