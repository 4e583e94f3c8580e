#pragma once
// Records of one size that are only ever added: in RAM, or in a file that is mapped for reading.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace gca::model {

/// Not thread-safe, but for at() and prefetch() between two appends.
class ChunkRecords {
 public:
  virtual ~ChunkRecords() = default;
  /// Adds records that lie one after the other. Throws Error(failed) naming the file when it cannot be
  /// written.
  virtual void append(std::span<const std::byte> records) = 0;
  virtual int64_t count() const = 0;
  /// Record number `number`; valid until the next append.
  virtual const std::byte* at(int64_t number) const = 0;
  /// Says which records are read next, so that a disk can begin.
  virtual void prefetch(std::span<const int64_t> numbers) const = 0;
};

/// In blocks: what is there stays where it is while more comes.
std::unique_ptr<ChunkRecords> make_ram_records(int64_t record_bytes);

/// A new file at `path` that nobody else sees: its name is removed at once, its space is free again when the
/// process ends, however it ends. Appends are written in order; reading maps the file, so that what is not
/// read takes no RAM. Throws Error(usage) when there is such a file already or none can be made.
std::unique_ptr<ChunkRecords> make_scratch_file_records(const std::string& path, int64_t record_bytes);

/// The same, but the file keeps its name and stays. Whoever makes it puts it into a folder that is in the
/// making (replace_folder_atomically()).
std::unique_ptr<ChunkRecords> make_file_records(const std::string& path, int64_t record_bytes);

/// The records of a file that is there, for reading only. Throws Error(usage) when it is missing or has no
/// whole number of records.
std::unique_ptr<ChunkRecords> open_file_records(const std::string& path, int64_t record_bytes);

}  // namespace gca::model
