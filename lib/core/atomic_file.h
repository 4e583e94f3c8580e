#pragma once
// Files that are either the old or the new, never half: written aside, flushed, renamed.

#include <cstddef>
#include <functional>
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

/// Fills a folder aside (`fill` gets its temporary path) and puts it in the place of `path` so that a
/// complete folder is there at every instant (renameat2 with RENAME_EXCHANGE where `path` exists); the old
/// one is removed afterwards, with everything in it: callers make sure that `path` is a folder of their own.
void replace_folder_atomically(const std::string& path, const std::function<void(const std::string&)>& fill);

/// The whole file; Error(usage) when it cannot be read.
std::string read_file(const std::string& path);

}  // namespace gca
