#include "lib/report/text_table.h"

#include <algorithm>
#include <functional>
#include <sstream>

#include "lib/core/utf8.h"

namespace gca::report {
namespace {

/// The bytes of the first `count` characters.
size_t bytes_of(const std::string& text, size_t count) {
  size_t at = 0;
  for (; at < text.size(); ++at)
    if (!continues_utf8(text[at]) && count-- == 0) break;
  return at;
}

}  // namespace

std::string fitted(const std::string& text, size_t width) {
  const size_t length = count_utf8(text);
  if (length <= width) return text + std::string(width - length, ' ');
  const size_t end = (width - 2) / 2, start = width - 2 - end;
  return text.substr(0, bytes_of(text, start)) + ".." + text.substr(bytes_of(text, length - end));
}

std::string wrapped(const std::string& text, size_t width, size_t indent) {
  std::string lines, line;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    std::string word = text.substr(begin, end - begin);
    if (count_utf8(word) > width - indent) word = fitted(word, width - indent);
    if (!line.empty() && count_utf8(line) + 1 + count_utf8(word) > width) {
      lines += line + "\n";
      line = std::string(indent, ' ') + word;
    } else {
      line += (line.empty() ? "" : " ") + word;
    }
    begin = end + 1;
  }
  return lines + line + "\n";
}

void TextTable::add_column(const std::string& title, std::vector<std::string> texts) {
  Column column;
  std::istringstream lines(title);
  for (std::string line; std::getline(lines, line);) column.title.push_back(line);
  column.texts = std::move(texts);
  for (const auto* list : {&column.title, &column.texts})
    for (const std::string& text : *list) column.width = std::max(column.width, count_utf8(text));
  columns_.push_back(std::move(column));
}

size_t TextTable::columns_width(size_t gap) const {
  size_t width = 0;
  for (const Column& column : columns_) width += gap + column.width;
  return width;
}

std::string TextTable::text(const std::string& name_title, size_t name_width, size_t gap, Side side) const {
  const auto line = [&](const std::string& name, const std::function<std::string(const Column&)>& text_of) {
    std::string row = fitted(name, name_width);
    for (const Column& column : columns_) {
      const std::string text = text_of(column);
      const std::string room(column.width - count_utf8(text), ' ');
      row += std::string(gap, ' ') + (side == Side::right ? room + text : text + room);
    }
    return row.substr(0, row.find_last_not_of(' ') + 1) + "\n";
  };
  size_t head_lines = 1;
  for (const Column& column : columns_) head_lines = std::max(head_lines, column.title.size());
  std::string table;
  for (size_t i = 0; i < head_lines; ++i) {
    const size_t below = head_lines - 1 - i;  // titles of fewer lines stand below
    table += line(below == 0 ? name_title : "", [&](const Column& column) {
      return column.title.size() > below ? column.title[column.title.size() - 1 - below] : "";
    });
  }
  for (size_t r = 0; r < names_.size(); ++r)
    table += line(names_[r], [r](const Column& column) { return column.texts[r]; });
  return table;
}

}  // namespace gca::report
