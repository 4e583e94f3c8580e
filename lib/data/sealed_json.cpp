#include "lib/data/sealed_json.h"

#include <filesystem>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"

namespace gca::data {
namespace {

constexpr const char* kSeal = "seal";

std::string string_field(const nlohmann::json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

std::string write_sealed_json(const std::string& path, nlohmann::json content) {
  const std::string seal = seal_of(content);
  content[kSeal] = seal;
  write_file_atomically(path, content.dump(1) + "\n");
  return seal;
}

std::string seal_of(nlohmann::json content) {
  content.erase(kSeal);
  // A flipped bit can leave JSON that holds bytes which are not UTF-8; these differ from any that was written.
  return sha256_hex(content.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void require_seal(const nlohmann::json& content, const std::string& path, const std::string& remedy) {
  if (seal_of(content) != string_field(content, kSeal))
    fail_usage(path, "is damaged (does not match its checksum)", remedy);
}

nlohmann::json read_sealed_json(const std::string& path, const std::string& format,
                                const std::string& writer) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    fail_usage(path, "no such file", "name a folder written by " + writer);
  nlohmann::json content = nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (content.is_discarded() || !content.is_object())
    fail_usage(path, "is damaged (no JSON object)", "run " + writer + " again");
  const std::string found = string_field(content, "format");
  if (found != format)
    fail_usage(path, "has the format \"" + found + "\"", "name a folder written by " + writer);
  require_seal(content, path, "run " + writer + " again");
  return content;
}

std::string folder_format(const std::string& folder) {
  const std::string path = folder + "/index.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return "";
  return string_field(nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false), "format");
}

}  // namespace gca::data
