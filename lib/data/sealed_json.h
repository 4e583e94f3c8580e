#pragma once
// JSON index files with a seal: the field "seal" is the SHA-256 of all other fields, so that a flipped bit
// anywhere in an index is an error and not a wrong token.

#include <nlohmann/json.hpp>
#include <string>

namespace gca::data {

/// Writes `content` with its seal to `path`; returns the seal.
std::string write_sealed_json(const std::string& path, nlohmann::json content);

/// The seal of `content`, its own field left out.
std::string seal_of(nlohmann::json content);

/// Error(usage) naming `path` when the seal of `content` is not that of its other fields.
void require_seal(const nlohmann::json& content, const std::string& path, const std::string& remedy);

/// Reads a file written by write_sealed_json. Throws Error(usage) when it is missing, is not JSON, has another
/// "format" than `format`, or does not match its seal; the error names `writer`, the command that writes such.
nlohmann::json read_sealed_json(const std::string& path, const std::string& format,
                                const std::string& writer);

/// The "format" of the index.json in `folder`; empty when there is none.
std::string folder_format(const std::string& folder);

}  // namespace gca::data
