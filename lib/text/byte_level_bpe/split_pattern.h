#pragma once
// The regular expressions by which a tokenizer.json cuts text into pieces, matched by PCRE2.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace gca::text {

/// Immutable; may be used by several threads.
class SplitPattern {
 public:
  /// Throws Error(usage), naming `where`, for a pattern that PCRE2 does not take, or cannot match as the
  /// `tokenizers` library does.
  SplitPattern(const std::string& pattern, std::string where);
  ~SplitPattern();
  SplitPattern(SplitPattern&&) noexcept;
  SplitPattern& operator=(SplitPattern&&) noexcept;

  enum class Result {
    none,    ///< no match in the rest of the text
    found,   ///< [begin, end)
    unknown  ///< only in a text that may go on: from `begin` on the match depends on what follows
  };
  struct Match {
    Result result = Result::none;
    size_t begin = 0;
    size_t end = 0;
  };
  /// The first match in `text`, valid UTF-8, that begins at `from` or later. Error(usage) where matching
  /// takes more steps or memory than PCRE2 allows.
  Match find(std::string_view text, size_t from, bool may_go_on) const;

  /// A match depends on nothing before its beginning and is never empty: from the beginning of a match on,
  /// and from any place between two matches, a search gives the same whether the text before is there or not.
  bool can_restart() const { return can_restart_; }

 private:
  struct Code;
  std::unique_ptr<Code> code_;
  std::string where_;
  bool can_restart_ = false;
};

}  // namespace gca::text
