#include "lib/text/byte_level_bpe/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <utility>

#include "lib/core/error.h"
#include "lib/text/byte_level_bpe/oniguruma_pattern.h"

namespace gca::text {
namespace {

/// What a thread needs to match with any pattern.
struct MatchScratch {
  static constexpr size_t kLeastStackBytes = size_t{32} << 10;
  static constexpr size_t kMostStackBytes = size_t{4} << 20;

  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kLeastStackBytes, kMostStackBytes, nullptr);

  MatchScratch() { pcre2_jit_stack_assign(context, nullptr, stack); }
  ~MatchScratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;
};

MatchScratch& scratch_of_thread() {
  thread_local MatchScratch scratch;
  return scratch;
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text = {};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// "^" outside of a class and "\G" look at what is before a match; PCRE2 tells of all others. (An escaped "^"
/// is taken for one, too.)
bool looks_back(const std::string& pattern) {
  if (pattern.find("\\G") != std::string::npos) return true;
  for (size_t at = 0; at < pattern.size(); ++at)
    if (pattern[at] == '^' && (at == 0 || pattern[at - 1] != '[')) return true;
  return false;
}

}  // namespace

struct SplitPattern::Code {
  pcre2_code* compiled = nullptr;
  bool has_jit = false;
  ~Code() { pcre2_code_free(compiled); }
};

namespace {

/// Null where PCRE2 does not take the pattern.
pcre2_code* compile(const std::string& pattern, std::string* error_text) {
  int error = 0;
  PCRE2_SIZE place = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                   &place, nullptr);
  if (code == nullptr && error_text != nullptr) *error_text = message_of(error);
  return code;
}

bool is_valid(const std::string& pattern) {
  pcre2_code* code = compile(pattern, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

}  // namespace

SplitPattern::SplitPattern(const std::string& pattern, std::string where)
    : code_(std::make_unique<Code>()), where_(std::move(where)) {
  const auto refuse = [this](const std::string& construct) {
    fail_usage(where_, "the pattern of a Split has " + construct + ", which is not supported",
               "give a tokenizer.json with another pattern");
  };
  const std::string translated = oniguruma_to_pcre2(pattern, is_valid, refuse);
  std::string error;
  code_->compiled = compile(translated, &error);
  if (code_->compiled == nullptr)
    fail_usage(where_, "the pattern of a Split cannot be read: " + error,
               "give a tokenizer.json with a pattern that PCRE2 takes");
  code_->has_jit = pcre2_jit_compile(code_->compiled, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
  uint32_t lookbehind = 0;
  uint32_t matches_empty = 0;
  pcre2_pattern_info(code_->compiled, PCRE2_INFO_MAXLOOKBEHIND, &lookbehind);
  pcre2_pattern_info(code_->compiled, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  can_restart_ = lookbehind == 0 && matches_empty == 0 && !looks_back(pattern);
}

SplitPattern::~SplitPattern() = default;
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;
SplitPattern& SplitPattern::operator=(SplitPattern&&) noexcept = default;

SplitPattern::Match SplitPattern::find(std::string_view text, size_t from, bool may_go_on) const {
  MatchScratch& scratch = scratch_of_thread();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const uint32_t partial = may_go_on ? PCRE2_PARTIAL_HARD : 0;
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (code_->has_jit)
    result =
        pcre2_jit_match(code_->compiled, subject, text.size(), from, partial, scratch.data, scratch.context);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT)
    result = pcre2_match(code_->compiled, subject, text.size(), from,
                         partial | PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
  if (result == PCRE2_ERROR_NOMATCH) return {};
  if (result < 0 && result != PCRE2_ERROR_PARTIAL)
    fail_usage(where_, "the pattern of a Split cannot be matched with a text: " + message_of(result),
               "give a tokenizer.json with a simpler pattern");
  const PCRE2_SIZE* place = pcre2_get_ovector_pointer(scratch.data);
  return {result == PCRE2_ERROR_PARTIAL ? Result::unknown : Result::found, place[0], place[1]};
}

}  // namespace gca::text
