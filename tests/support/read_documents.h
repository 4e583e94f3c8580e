#pragma once
// Documents read to their ends, and other programs to compare with.

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "lib/text/sources/document_source.h"

struct ReadDocument {
  std::string name, text;
};

/// The documents of some files or folders, and what was counted.
struct ReadDocuments {
  std::vector<ReadDocument> documents;
  std::vector<gca::text::SourceCounts> counts;

  std::vector<std::string> texts() const {
    std::vector<std::string> all;
    for (const ReadDocument& document : documents) all.push_back(document.text);
    return all;
  }
};

inline ReadDocuments read_documents(const std::vector<std::string>& inputs,
                                    const gca::text::SourceOptions& options = {},
                                    size_t piece_bytes = size_t{1} << 16) {
  gca::text::DocumentSource source(gca::text::list_input_files(inputs), options);
  ReadDocuments all;
  while (source.next()) {
    all.documents.push_back({source.name(), ""});
    for (std::string_view text = source.read(piece_bytes); !text.empty(); text = source.read(piece_bytes)) {
      CHECK(text.size() <= piece_bytes);
      all.documents.back().text += text;
    }
  }
  all.counts.assign(source.counts().begin(), source.counts().end());
  return all;
}

/// A command line of the shell that must succeed.
inline void run_shell(const std::string& command) {
  INFO(command);
  REQUIRE(std::system(command.c_str()) == 0);
}

/// A program of Python's that must succeed; `arguments` are its sys.argv[1:], without blanks or quotes in
/// them.
inline void run_python(const std::string& program, const std::string& arguments) {
  run_shell(std::string(GCA_PYTHON) + " - " + arguments + " <<'PROGRAM'\n" + program + "\nPROGRAM\n");
}
