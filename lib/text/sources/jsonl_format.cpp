// JSON Lines: each line is a JSON object, one of its keys holds the text of a document. Blank lines are
// passed over.

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/utf8.h"
#include "lib/text/sources/formats.h"
#include "lib/text/sources/utf8_stream.h"

namespace gca::text {
namespace {

constexpr std::string_view kExtensions[] = {".jsonl", ".ndjson"};
constexpr std::string_view kBlanks = " \t\r\n";
/// A line is held in memory, and its text once more.
constexpr size_t kMostLineBytes = size_t{256} << 20;

/// An object, or an array of objects: that is refused, with the line that tells why, rather than read as
/// text.
bool begins_like_json(std::string_view head) {
  const auto skip_blanks = [&] {
    head.remove_prefix(std::min(head.find_first_not_of(kBlanks), head.size()));
  };
  skip_blanks();
  if (head.starts_with('[')) {
    head.remove_prefix(1);
    skip_blanks();
  }
  if (!head.starts_with('{')) return false;
  head.remove_prefix(1);
  skip_blanks();
  return head.starts_with('"') || head.starts_with('}');
}

/// Takes the value of one key of the outermost object; of a key that comes twice, the last.
class TextFinder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  TextFinder(const std::string& key, std::string& text) : key_(key), text_(text) {}

  /// What is wrong with the line once it is parsed; empty where the text was found.
  std::string problem() const {
    if (!is_object_) return "is not a JSON object";
    if (!has_key_) return fmt::format("has no key \"{}\"", key_);
    if (!is_string_) return fmt::format("has a \"{}\" that is not a string", key_);
    return "";
  }
  size_t error_byte() const { return error_byte_; }

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t&) override { return value(); }
  bool binary(binary_t&) override { return value(); }
  bool string(string_t& content) override {
    if (!is_text_next()) return value();
    text_ = std::move(content);
    return value(/*is_string=*/true);
  }
  bool start_object(size_t) override {
    if (depth_ == 0) is_object_ = true;
    return open();
  }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (depth_ == 1) is_text_key_ = name == key_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    error_byte_ = position;
    return false;
  }

 private:
  bool is_text_next() const { return depth_ == 1 && is_object_ && is_text_key_; }
  bool value(bool is_string = false) {
    if (is_text_next()) {
      has_key_ = true;
      is_string_ = is_string;
    }
    return true;
  }
  bool open() {
    value();
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  const std::string& key_;
  std::string& text_;
  int64_t depth_ = 0;
  bool is_object_ = false;
  bool is_text_key_ = false;  ///< the key that was read last in the outermost object
  bool has_key_ = false;
  bool is_string_ = false;
  size_t error_byte_ = 0;
};

class JsonlReader final : public DocumentReader {
 public:
  explicit JsonlReader(DocumentFile file)
      : path_(std::move(file.path)),
        options_(file.options),
        counts_(file.counts),
        stream_(std::move(file.stream)) {
    if (options_.invalid_utf8 == InvalidUtf8::replace)
      stream_ = make_utf8_stream(std::move(stream_), &counts_.replaced_sequences);
  }

  bool next() override {
    while (read_line()) {
      if (!is_too_long_ && line_.find_first_not_of(kBlanks) == std::string::npos) continue;
      const Problem problem = parse_line();
      if (problem.what.empty()) {
        rest_ = text_;
        return true;
      }
      const std::string where = fmt::format("{}:{}", stream_->name(), line_number_);
      if (!options_.skip_bad) fail_usage(where, problem.what, problem.remedy);
      if (counts_.skipped_lines++ == 0) counts_.first_skipped_line = where + ": " + problem.what;
    }
    return false;
  }

  std::string name() const override { return fmt::format("{}:{}", path_, line_number_); }

  std::string_view read(size_t most_bytes) override {
    const std::string_view front = rest_.substr(0, most_bytes);
    rest_.remove_prefix(front.size());
    return front;
  }

 private:
  struct Problem {
    std::string what;  ///< empty: none
    std::string remedy = "";
  };

  /// False at the end of the file. Of a line that is too long nothing is kept; with --skip-bad it is read to
  /// its end.
  bool read_line() {
    line_.clear();
    is_too_long_ = false;
    for (bool is_begun = false;; is_begun = true) {
      if (unread_.empty()) unread_ = std::string_view(buffer_.data(), stream_->read(buffer_));
      if (unread_.empty() && !is_begun) return false;
      if (!is_begun) ++line_number_;
      const size_t newline = std::min(unread_.find('\n'), unread_.size());
      const bool is_whole = newline < unread_.size() || unread_.empty();
      append(unread_.substr(0, newline));
      unread_.remove_prefix(std::min(newline + 1, unread_.size()));
      if (is_whole || (is_too_long_ && !options_.skip_bad)) return true;
    }
  }

  void append(std::string_view part) {
    is_too_long_ = is_too_long_ || line_.size() + part.size() > kMostLineBytes;
    if (is_too_long_)
      line_.clear();
    else
      line_ += part;
  }

  Problem parse_line() {
    if (is_too_long_)
      return {fmt::format("is longer than {} MiB", kMostLineBytes >> 20),
              "split the document, or skip such lines with --skip-bad"};
    text_.clear();
    TextFinder finder(options_.text_key, text_);
    const bool is_json = nlohmann::json::sax_parse(line_, &finder);
    if (is_json && finder.problem().empty()) return {};
    const size_t valid = valid_utf8_prefix(line_);
    if (valid < line_.size())
      return {invalid_utf8_message(std::string_view(line_).substr(valid)), kInvalidUtf8Remedy};
    const bool goes_on = !is_json && finder.error_byte() > line_.size();
    if (goes_on || line_[line_.find_first_not_of(kBlanks)] == '[')
      return {goes_on ? "ends within a JSON value" : "is a JSON array",
              "write one object a line, for example with jq -c"};
    return {is_json ? finder.problem() : fmt::format("is not valid JSON, at byte {}", finder.error_byte()),
            "name the key of the text with --text-key, skip broken lines with --skip-bad, or read the "
            "file as plain text with --input-format text"};
  }

  std::string path_;
  const SourceOptions& options_;
  SourceCounts& counts_;
  std::unique_ptr<ByteStream> stream_;
  std::array<char, 65536> buffer_;
  std::string_view unread_;  ///< of the buffer
  std::string line_;         ///< without its newline
  bool is_too_long_ = false;
  int64_t line_number_ = 0;  ///< of line_, from 1
  std::string text_;         ///< of line_
  std::string_view rest_;    ///< of text_, not yet read
};

}  // namespace

extern const DocumentFormat kJsonlFormat = {"jsonl", kExtensions, begins_like_json,
                                            [](DocumentFile file) -> std::unique_ptr<DocumentReader> {
                                              return std::make_unique<JsonlReader>(std::move(file));
                                            }};

}  // namespace gca::text
