#include "tests/ptx_machine/lexer.h"

#include <cctype>
#include <string>

#include "tests/ptx_machine/ptx_error.h"

namespace ptx {
namespace {

bool begins_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' || c == '%' || c == '.';
}

bool goes_on_name(char c) {
  return begins_name(c) || std::isdigit(static_cast<unsigned char>(c)) != 0;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    std::vector<Token> tokens;
    for (;;) {
      skip_blanks();
      tokens.push_back(next());
      if (tokens.back().kind == TokenKind::end) return tokens;
    }
  }

 private:
  char at(size_t ahead = 0) const { return place_ + ahead < source_.size() ? source_[place_ + ahead] : '\0'; }

  void skip_blanks() {
    for (;;) {
      if (at() == '\n') {
        ++line_;
        ++place_;
      } else if (std::isspace(static_cast<unsigned char>(at())) != 0) {
        ++place_;
      } else if (at() == '/' && at(1) == '/') {
        place_ = std::min(source_.find('\n', place_), source_.size());
      } else if (at() == '/' && at(1) == '*') {
        const size_t end = source_.find("*/", place_ + 2);
        if (end == std::string_view::npos)
          throw Error("line " + std::to_string(line_) + ": comment without end");
        for (; place_ < end + 2; ++place_) line_ += at() == '\n';
      } else {
        return;
      }
    }
  }

  Token next() {
    const size_t begin = place_;
    const auto token = [&](TokenKind kind, uint64_t value = 0) {
      return Token{kind, source_.substr(begin, place_ - begin), value, line_};
    };
    if (place_ == source_.size()) return token(TokenKind::end);
    const char c = at();
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) return number();
    if (begins_name(c)) {
      while (goes_on_name(at()) || (at() == ':' && at(1) == ':')) place_ += at() == ':' ? 2 : 1;
      return token(TokenKind::name);
    }
    if (c == '"') {
      place_ = source_.find('"', place_ + 1);
      if (place_ == std::string_view::npos)
        throw Error("line " + std::to_string(line_) + ": string without end");
      ++place_;
      Token text = token(TokenKind::string);
      text.text = text.text.substr(1, text.text.size() - 2);
      return text;
    }
    ++place_;
    return token(TokenKind::punctuation);
  }

  Token number() {
    const size_t begin = place_;
    TokenKind kind = TokenKind::integer;
    int base = 10;
    size_t digits = begin;
    if (at() == '0' && (at(1) == 'f' || at(1) == 'F' || at(1) == 'd' || at(1) == 'D')) {
      kind = std::tolower(at(1)) == 'f' ? TokenKind::float32 : TokenKind::float64;
      base = 16;
      digits += 2;
    } else if (at() == '0' && (at(1) == 'x' || at(1) == 'X')) {
      base = 16;
      digits += 2;
    }
    place_ = digits;
    while (std::isxdigit(static_cast<unsigned char>(at())) != 0) ++place_;
    const std::string text(source_.substr(digits, place_ - digits));
    const Token token{kind, source_.substr(begin, place_ - begin), std::stoull(text, nullptr, base), line_};
    if (at() == 'U') ++place_;
    return token;
  }

  std::string_view source_;
  size_t place_ = 0;
  int line_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace ptx
