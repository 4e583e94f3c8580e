#pragma once
// Files that are either the old or the new, never half: written aside, flushed, renamed.

#include <functional>
#include <string>
#include <string_view>

namespace gca {

/// Replaces `path` by `content`. Throws Error(failed) naming the file; the old content stays on any failure.
void write_file_atomically(const std::string& path, std::string_view content);

/// A file being written under a temporary name beside `path`; commit() flushes and renames, the destructor removes what
/// was not committed.
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
  std::string path_;
  std::string temporary_path_;
  int descriptor_ = -1;
};

/// Fills a folder aside (`fill` gets its temporary path) and puts it in the place of `path` so that a complete folder is
/// there at every instant (renameat2 with RENAME_EXCHANGE where `path` exists); the old one is removed afterwards.
void replace_folder_atomically(const std::string& path, const std::function<void(const std::string&)>& fill);

/// The whole file; Error(usage) when it cannot be read.
std::string read_file(const std::string& path);

}  // namespace gca
