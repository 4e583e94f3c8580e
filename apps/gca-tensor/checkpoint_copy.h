#pragma once
// What commands that make a checkpoint of another one share.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gca::app {

/// The object in a JSON file. Throws Error(usage) when it is none.
nlohmann::ordered_json read_json_object(const std::string& path);

/// The absolute path of --output, a folder to write, which must be new or empty: what is in it is not ours to
/// replace. Throws Error(usage).
std::string claim_new_folder(const std::string& folder);

/// Copies the tokenizer of a checkpoint as it lies, and the ids that begin and end a text; the names of the files
/// that were copied.
std::vector<std::string> copy_tokenizer(const std::string& from, const std::string& to);

}  // namespace gca::app
