#pragma once
// Memory of the device as the kernel sees it: buffers of the host, each at an address of its own with nothing
// around it, so that every access outside of one is seen. Buffers that may be written carry shadow cells, one
// for four bytes, that tell which threads touched them during a launch: between blocks nothing is ordered, so
// two blocks that touch the same cell, one of them writing another value, race.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace ptx {

enum class Access {
  read_only,
  read_write,
  write_first,  // content is undefined: reading a byte that no launch has written is an error
};

using DeviceAddress = uint64_t;

class GlobalMemory {
 public:
  struct Buffer {
    std::string name;
    std::byte* data = nullptr;
    uint64_t size = 0;
    Access access = Access::read_only;
    std::vector<uint8_t> written;        // of write_first, a byte each
    std::vector<uint64_t> write_shadow;  // of a launch with race checks: GlobalStamp of the last writer
    std::vector<uint64_t> read_shadow;
    std::vector<uint64_t> read_sectors;  // bits: sectors of 32 bytes touched
    std::vector<uint64_t> written_sectors;
  };

  static constexpr int kOffsetBits = 40;
  /// Number of the first buffer in its address: no size, stride or pair of small numbers is an address.
  static constexpr uint64_t kFirstBuffer = 0x5A17;

  /// The buffer's device address. `data` must outlive the launches.
  template <class T>
  T* add(std::string name, std::span<T> data, Access access) {
    return reinterpret_cast<T*>(add_bytes(
        std::move(name), reinterpret_cast<std::byte*>(const_cast<std::remove_const_t<T>*>(data.data())),
        data.size_bytes(), access));
  }
  DeviceAddress add_bytes(std::string name, std::byte* data, uint64_t size, Access access);

  /// The device address of a variable of the module, made at its first use with `content`; it lives as long
  /// as this memory.
  DeviceAddress variable(const std::string& name, const std::vector<uint8_t>& content, Access access);

  /// The buffer an address points into or past, null for an address of none.
  Buffer* find(DeviceAddress address) {
    const uint64_t index = (address >> kOffsetBits) - kFirstBuffer;
    return index < buffers_.size() ? &buffers_[index] : nullptr;
  }
  static uint64_t offset_of(DeviceAddress address) { return address & ((uint64_t{1} << kOffsetBits) - 1); }

  std::vector<Buffer>& buffers() { return buffers_; }

  /// Prepares the shadows for a launch.
  void begin_launch(bool check_races);
  /// Distinct sectors that the launch read or wrote, in bytes.
  uint64_t bytes_read() const;
  uint64_t bytes_written() const;

  /// "q+64".
  std::string describe(DeviceAddress address) const;

 private:
  struct ModuleVariable {
    std::vector<uint8_t> content;
    DeviceAddress address = 0;
  };
  std::vector<Buffer> buffers_;
  std::map<std::string, ModuleVariable> variables_;
};

}  // namespace ptx
