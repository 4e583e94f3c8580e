#pragma once
// Tables and paragraphs for a terminal, in characters of UTF-8.

#include <string>
#include <vector>

namespace gca::report {

/// `text` on `width` characters, at least 4: of what is too long the middle is left out, for names differ at
/// either end.
std::string fitted(const std::string& text, size_t width);

/// `text` broken at spaces into lines of at most `width`, every one but the first after `indent` spaces. A
/// word that is too long is fitted.
std::string wrapped(const std::string& text, size_t width, size_t indent);

class TextTable {
 public:
  /// `names` stand in front of the rows.
  explicit TextTable(std::vector<std::string> names) : names_(std::move(names)) {}

  /// `texts`, one a row. A "\n" in `title` begins another line of the head.
  void add_column(const std::string& title, std::vector<std::string> texts);

  /// Of the columns, each after `gap` spaces.
  size_t columns_width(size_t gap) const;

  enum class Side { left, right };
  /// `name_title` and the names on `name_width` characters, the columns with their texts at that side.
  std::string text(const std::string& name_title, size_t name_width, size_t gap, Side side) const;

 private:
  struct Column {
    std::vector<std::string> title;  // by line
    std::vector<std::string> texts;
    size_t width = 0;
  };

  std::vector<std::string> names_;
  std::vector<Column> columns_;
};

}  // namespace gca::report
