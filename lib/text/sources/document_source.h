#pragma once
// Documents from files, one after the other, each read front to back: whatever their format, in bounded
// memory.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/sources/formats.h"
#include "lib/text/sources/input_files.h"
#include "lib/text/sources/source_options.h"

namespace gca::text {

class DocumentSource {
 public:
  /// Throws Error(usage) where the options name no format.
  DocumentSource(InputFiles inputs, SourceOptions options);
  // Readers refer to the options and the counts.
  DocumentSource(const DocumentSource&) = delete;
  DocumentSource& operator=(const DocumentSource&) = delete;

  /// Goes on to the next document; false after the last. Throws Error(usage), naming file and where possible
  /// line, at what cannot be read as documents.
  bool next();
  /// Of the document that next() came to: the file's path, with ":" and the number of the line where a file
  /// has several.
  std::string name() const { return reader_->name(); }
  /// The next bytes of its text, at most `most_bytes` > 0, valid until the next call; empty at its end.
  std::string_view read(size_t most_bytes);

  /// What was read so far, of each input.
  std::span<const SourceCounts> counts() const { return counts_; }
  size_t file_count() const { return inputs_.files.size(); }
  /// Files that were begun.
  size_t files_opened() const { return next_file_; }

 private:
  InputFiles inputs_;
  SourceOptions options_;
  std::vector<SourceCounts> counts_;
  size_t next_file_ = 0;
  std::unique_ptr<DocumentReader> reader_;  ///< of the file before next_file_
};

}  // namespace gca::text
