#include "lib/text/byte_level_bpe/oniguruma_pattern.h"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/core/utf8.h"

namespace gca::text {
namespace {

// What Oniguruma's \w matches, as the inside of a class. (PCRE2 10.42 takes letters, numbers and "_" alone.)
constexpr std::string_view kWordCharacters = R"(\p{Alphabetic}\p{M}\p{N}\p{Pc})";

class Translator {
 public:
  Translator(const std::string& pattern, const std::function<bool(const std::string&)>& is_valid,
             const std::function<void(const std::string&)>& refuse)
      : rest_(pattern), is_valid_(is_valid), refuse_(refuse) {}

  std::string translate() {
    while (!rest_.empty()) {
      const char next = rest_.front();
      if (next == '\\') {
        atom_ = result_.size();
        translate_escape(/*in_class=*/false);
      } else if (next == '[') {
        atom_ = result_.size();
        translate_class();
      } else if (next == '(') {
        open_group();
      } else if (next == ')') {
        atom_ = groups_.empty() ? result_.size() : groups_.back();
        if (!groups_.empty()) groups_.pop_back();
        copy(1);
      } else if (next == '{') {
        translate_counts();
      } else {
        if (std::string_view("*+?|").find(next) == std::string_view::npos) atom_ = result_.size();
        copy(std::max<size_t>(first_utf8_sequence(rest_).length, 1));
      }
    }
    return std::move(result_);
  }

 private:
  void copy(size_t count) {
    result_ += rest_.substr(0, count);
    rest_.remove_prefix(count);
  }

  void replace(size_t count, std::string_view text) {
    result_ += text;
    rest_.remove_prefix(count);
  }

  void refuse(std::string_view construct) const { refuse_(std::string(construct)); }

  void open_group() {
    constexpr std::string_view kKnown[] = {
        "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:", "(?i)"};
    size_t length = 1;
    if (rest_.starts_with("(?") || rest_.starts_with("(*")) {
      length = 0;
      for (const std::string_view known : kKnown)
        if (rest_.starts_with(known)) length = known.size();
      if (length == 0) refuse(rest_.substr(0, 4));
    }
    if (rest_.substr(0, length) != "(?i)") groups_.push_back(result_.size());
    copy(length);
  }

  /// {n,m}+ is possessive for PCRE2 and a repetition of {n,m} for Oniguruma.
  void translate_counts() {
    const size_t end = rest_.find('}');
    const std::string_view counts = rest_.substr(1, end == std::string_view::npos ? 0 : end - 1);
    if (counts.empty() || counts.find_first_not_of("0123456789,") != std::string_view::npos ||
        std::isdigit(static_cast<unsigned char>(counts.front())) == 0)
      return refuse("{");
    copy(end + 1);
    if (rest_.starts_with("?") && counts.find(',') == std::string_view::npos) refuse("{n}?");
    if (!rest_.starts_with("+")) return;
    result_.insert(atom_, "(?:");
    result_ += ")";
    copy(1);
  }

  void translate_class() {
    copy(rest_.starts_with("[^") ? 2 : 1);
    bool is_first = true;
    while (!rest_.empty() && (is_first || rest_.front() != ']')) {
      if (rest_.starts_with("[")) refuse("[ within a class");
      if (rest_.starts_with("&&")) refuse("&&");
      if (is_first && rest_.front() == ']') refuse("[]");
      is_first = false;
      if (rest_.front() == '\\')
        translate_escape(/*in_class=*/true);
      else
        copy(1);
    }
    if (!rest_.empty()) copy(1);
  }

  void translate_escape(bool in_class) {
    const std::string_view escape = rest_.substr(0, 2);
    const char letter = escape.size() == 2 ? escape[1] : '\0';
    const auto code = static_cast<unsigned char>(letter);
    if (letter != '\0' && std::isalnum(code) == 0)
      return copy(1 + std::max<size_t>(first_utf8_sequence(rest_.substr(1)).length, 1));
    switch (letter) {
      case 's':
        return replace(2, R"(\p{White_Space})");  // PCRE2's has U+180E as well
      case 'S':
        return replace(2, R"(\P{White_Space})");
      case 'v':
        return replace(2, R"(\x0B)");
      case 'd':
      case 'D':
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        return copy(2);
      case 'p':
      case 'P':
        return translate_property();
      case 'x':
      case 'u':
        return translate_code_point();
      case 'w':
        if (in_class) return replace(2, kWordCharacters);
        return replace(2, "[" + std::string(kWordCharacters) + "]");
      default:
        break;
    }
    if (in_class) return refuse(escape);
    const std::string word = "[" + std::string(kWordCharacters) + "]";
    switch (letter) {
      case 'W':
        return replace(2, "[^" + std::string(kWordCharacters) + "]");
      case 'b':
        return replace(2, "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))");
      case 'B':
        return replace(2, "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))");
      case 'A':
      case 'z':
      case 'Z':
      case 'G':
        return copy(2);
      default:
        return refuse(escape);
    }
  }

  /// The name of a script means the script for Oniguruma, and for PCRE2 also what is used with it.
  void translate_property() {
    const size_t end = rest_.find('}');
    if (rest_.substr(2, 1) != "{" || end == std::string_view::npos) return refuse(rest_.substr(0, 3));
    std::string_view name = rest_.substr(3, end - 3);
    const bool is_negated = name.starts_with('^');
    if (is_negated) name.remove_prefix(1);
    const bool is_outer_negated = rest_[1] == 'P';
    const std::string begin = is_negated != is_outer_negated ? "\\P{" : "\\p{";
    const std::string script = begin + "sc:" + std::string(name) + "}";
    replace(end + 1, is_valid_(script) ? script : begin + std::string(name) + "}");
  }

  /// \xHH of ASCII, \x{H...} and \uHHHH.
  void translate_code_point() {
    const bool has_braces = rest_.substr(2, 1) == "{";
    const size_t end = has_braces ? rest_.find('}') : rest_[1] == 'u' ? 6 : 4;
    if (end == std::string_view::npos || end > rest_.size()) return refuse(rest_.substr(0, 2));
    const std::string digits(rest_.substr(has_braces ? 3 : 2, end - (has_braces ? 3 : 2)));
    const bool is_hex = digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    const bool is_byte = !has_braces && rest_[1] == 'x' && !digits.empty() && digits[0] > '7';
    if (digits.empty() || !is_hex || is_byte) return refuse(rest_.substr(0, end));
    replace(has_braces ? end + 1 : end, "\\x{" + digits + "}");
  }

  std::string_view rest_;
  const std::function<bool(const std::string&)>& is_valid_;
  const std::function<void(const std::string&)>& refuse_;
  std::string result_;
  size_t atom_ = 0;             ///< where what a repetition repeats begins in result_
  std::vector<size_t> groups_;  ///< where the open ones begin
};

}  // namespace

std::string oniguruma_to_pcre2(const std::string& pattern,
                               const std::function<bool(const std::string&)>& is_valid,
                               const std::function<void(const std::string&)>& refuse) {
  return Translator(pattern, is_valid, refuse).translate();
}

}  // namespace gca::text
