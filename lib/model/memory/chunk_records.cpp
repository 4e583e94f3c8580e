#include "lib/model/memory/chunk_records.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "lib/core/error.h"

namespace gca::model {
namespace {

class RamRecords final : public ChunkRecords {
 public:
  explicit RamRecords(int64_t record_bytes)
      : record_bytes_(record_bytes), per_block_(std::max<int64_t>(1, kBlockBytes / record_bytes)) {}

  void append(std::span<const std::byte> records) override {
    for (; !records.empty(); records = records.subspan(static_cast<size_t>(record_bytes_))) {
      if (count_ == per_block_ * static_cast<int64_t>(blocks_.size()))
        blocks_.push_back(
            std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(per_block_ * record_bytes_)));
      std::memcpy(place(count_++), records.data(), static_cast<size_t>(record_bytes_));
    }
  }

  int64_t count() const override { return count_; }
  const std::byte* at(int64_t number) const override { return place(number); }
  void prefetch(std::span<const int64_t>) const override {}

 private:
  static constexpr int64_t kBlockBytes = int64_t{16} << 20;

  std::byte* place(int64_t number) const {
    return blocks_[static_cast<size_t>(number / per_block_)].get() + number % per_block_ * record_bytes_;
  }

  int64_t record_bytes_;
  int64_t per_block_;
  int64_t count_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
};

class FileRecords final : public ChunkRecords {
 public:
  /// Owns `descriptor`.
  FileRecords(std::string path, int descriptor, int64_t record_bytes, int64_t count)
      : path_(std::move(path)), descriptor_(descriptor), record_bytes_(record_bytes), count_(count) {}

  ~FileRecords() override {
    unmap();
    ::close(descriptor_);
  }
  FileRecords(const FileRecords&) = delete;
  FileRecords& operator=(const FileRecords&) = delete;

  void append(std::span<const std::byte> records) override {
    const int64_t added = static_cast<int64_t>(records.size()) / record_bytes_;
    off_t offset = count_ * record_bytes_;
    while (!records.empty()) {
      const ssize_t written = ::pwrite(descriptor_, records.data(), records.size(), offset);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0)
        fail_run(path_, std::string("cannot be written: ") + std::strerror(errno), "free space on its disk");
      records = records.subspan(static_cast<size_t>(written));
      offset += written;
    }
    count_ += added;
  }

  int64_t count() const override { return count_; }

  const std::byte* at(int64_t number) const override {
    map();
    return mapping_ + number * record_bytes_;
  }

  void prefetch(std::span<const int64_t> numbers) const override {
    map();
    static const auto page = static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
    for (const int64_t number : numbers) {
      const int64_t begin = number * record_bytes_ / page * page;
      const int64_t end = (number + 1) * record_bytes_;
      // Advice: without it the reading itself waits for the disk.
      ::madvise(mapping_ + begin, static_cast<size_t>(end - begin), MADV_WILLNEED);
    }
  }

 private:
  /// Makes the mapping reach to the end of the file, and well beyond where it has grown.
  void map() const {
    const int64_t needed = count_ * record_bytes_;
    if (needed <= mapped_bytes_) return;
    unmap();
    mapped_bytes_ = std::max(needed + needed / 2, int64_t{64} << 20);
    void* mapping =
        ::mmap(nullptr, static_cast<size_t>(mapped_bytes_), PROT_READ, MAP_SHARED, descriptor_, 0);
    if (mapping == MAP_FAILED) {
      mapped_bytes_ = 0;
      fail_run(path_, std::string("cannot be mapped: ") + std::strerror(errno));
    }
    mapping_ = static_cast<std::byte*>(mapping);
    // Chunks are read here and there: what stands beside one is of no use.
    ::madvise(mapping_, static_cast<size_t>(mapped_bytes_), MADV_RANDOM);
  }

  void unmap() const {
    if (mapping_ != nullptr) ::munmap(mapping_, static_cast<size_t>(mapped_bytes_));
    mapping_ = nullptr;
  }

  std::string path_;
  int descriptor_;
  int64_t record_bytes_;
  int64_t count_;
  mutable std::byte* mapping_ = nullptr;
  mutable int64_t mapped_bytes_ = 0;
};

}  // namespace

std::unique_ptr<ChunkRecords> make_ram_records(int64_t record_bytes) {
  return std::make_unique<RamRecords>(record_bytes);
}

std::unique_ptr<ChunkRecords> make_scratch_file_records(const std::string& path, int64_t record_bytes) {
  auto records = make_file_records(path, record_bytes);
  ::unlink(path.c_str());
  return records;
}

std::unique_ptr<ChunkRecords> make_file_records(const std::string& path, int64_t record_bytes) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0)
    fail_usage(path, std::string("cannot be made: ") + std::strerror(errno),
               errno == EEXIST ? "name a file that does not exist yet"
                               : "name a file in a folder that can be written");
  return std::make_unique<FileRecords>(path, descriptor, record_bytes, 0);
}

std::unique_ptr<ChunkRecords> open_file_records(const std::string& path, int64_t record_bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status = {};
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
    const std::string what = std::strerror(errno);
    if (descriptor >= 0) ::close(descriptor);
    fail_usage(path, "cannot be read: " + what, "build the library again");
  }
  const auto size = static_cast<int64_t>(status.st_size);
  if (size % record_bytes != 0) {
    ::close(descriptor);
    fail_usage(path,
               fmt::format("{} bytes are not a whole number of records of {} bytes", size, record_bytes),
               "build the library again");
  }
  return std::make_unique<FileRecords>(path, descriptor, record_bytes, size / record_bytes);
}

}  // namespace gca::model
