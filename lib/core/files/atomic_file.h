#pragma once
// Files that are either the old or the new, never half: written aside, flushed, renamed.

#include <cstddef>
#include <string>
#include <string_view>

namespace gca {

/// Replaces `path` by `content`. Throws Error(failed) naming the file; the old content stays on any failure.
void write_file_atomically(const std::string& path, std::string_view content);

/// A file being written under a temporary name beside `path`; commit() flushes and renames, the destructor
/// removes what was not committed. A device or pipe (/dev/stdout) cannot be replaced: it is written to directly.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, size_t size_bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  void flush();
  void write_now(const void* data, size_t size_bytes);

  std::string path_;            ///< with symbolic links followed
  std::string temporary_path_;  ///< empty once committed, or where `path` is written directly
  std::string buffer_;          ///< small writes are gathered here
  int descriptor_ = -1;
};

/// The whole file; Error(usage) when it cannot be read.
std::string read_file(const std::string& path);

}  // namespace gca
