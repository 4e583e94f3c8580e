#pragma once
// What the fuzz targets share. Each reads bytes as one of our file formats: the reader either accepts them or
// throws gca::Error; anything else (another exception, a crash, a finding of a sanitizer) is a bug.

#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/error.h"
#include "lib/data/sealed_json.h"

/// A folder for this process, in memory where the system has such.
inline const std::string& scratch_folder() {
  static const std::string folder = [] {
    const bool has_memory_disk = std::filesystem::is_directory("/dev/shm");
    std::string name = std::string(has_memory_disk ? "/dev/shm" : "/tmp") + "/gca-fuzz-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) abort();
    static std::string to_remove;
    to_remove = name;
    atexit([] { std::filesystem::remove_all(to_remove); });
    return name;
  }();
  return folder;
}

/// Plainly and fast: nothing here is worth keeping.
inline void put(const std::string& path, std::string_view content) {
  FILE* file = fopen(path.c_str(), "wb");
  if (file == nullptr || fwrite(content.data(), 1, content.size(), file) != content.size()) abort();
  fclose(file);
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The input as several files: parts between lines of four dashes; missing ones are empty.
inline std::vector<std::string_view> parts_of(std::string_view input, size_t count) {
  constexpr std::string_view kBorder = "\n----\n";
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < count) {
    const size_t border = input.find(kBorder);
    if (border == std::string_view::npos) break;
    parts.push_back(input.substr(0, border));
    input.remove_prefix(border + kBorder.size());
  }
  parts.push_back(input);
  parts.resize(count);
  return parts;
}

inline nlohmann::json parsed(std::string_view text) {
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

/// `content` as an index file whose seal holds, so that a reader looks at what it says; other text as it is.
inline void put_sealed(const std::string& path, nlohmann::json content, std::string_view text) {
  if (!content.is_object()) return put(path, text);
  content.erase("seal");
  try {
    content["seal"] = gca::data::seal_of(content);
  } catch (const nlohmann::json::exception&) {
    return put(path, text);
  }
  put(path, content.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

template <class Read>
void read_or_refuse(const Read& read) {
  try {
    read();
  } catch (const gca::Error&) {
  }
}
