#include "tests/golden_check/tokenizer_case.h"

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "lib/core/files/atomic_file.h"
#include "lib/text/tokenizer.h"
#include "lib/text/tokenizer_file.h"

namespace gca::golden {
namespace {

using Ids = std::vector<int32_t>;

/// A tokenizer.json says itself what goes before a text; before that of a SentencePiece model goes <s>.
Ids with_prefix(const text::Tokenizer& tokenizer, Ids ids) {
  Ids prefix = tokenizer.prefix_ids();
  if (!text::is_tokenizer_json(tokenizer.serialized())) prefix.push_back(tokenizer.start_id());
  ids.insert(ids.begin(), prefix.begin(), prefix.end());
  return ids;
}

Ids ids_of_parts(const text::Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  bool goes_on = false;
  for (size_t limit = 1; !text.empty(); ++limit) {
    size_t cut = tokenizer.safe_cut(text, limit);
    if (cut == text.size() && limit < text.size()) continue;
    const Ids part = tokenizer.encode(text.substr(0, cut), nullptr, goes_on);
    ids.insert(ids.end(), part.begin(), part.end());
    text.remove_prefix(cut);
    goes_on = true;
    limit = 0;
  }
  return ids;
}

}  // namespace

bool is_tokenizer_case(const std::string& path) {
  return std::filesystem::is_regular_file(path + "/expected.json");
}

std::vector<Quantity> check_tokenizer(const std::string& path) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(text::find_tokenizer_file(path));
  Quantity ids{.name = "ids"}, plain_ids{.name = "plain_ids"}, cut_ids{.name = "cut_ids"};
  const auto expected = nlohmann::json::parse(read_file(path + "/expected.json"));
  for (const nlohmann::json& entry : expected) {
    const auto& text = entry.at("text").get_ref<const std::string&>();
    const Ids wanted = entry.at("plain_ids");
    const Ids plain = tokenizer.encode(text);
    ids.error += with_prefix(tokenizer, plain) == entry.at("ids").get<Ids>() ? 0 : 1;
    plain_ids.error += plain == wanted ? 0 : 1;
    cut_ids.error += ids_of_parts(tokenizer, text) == wanted ? 0 : 1;
  }
  if (expected.empty()) return {};
  return {ids, plain_ids, cut_ids};
}

}  // namespace gca::golden
