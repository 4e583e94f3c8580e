#pragma once
// The `tokenizers` library matches its patterns with Oniguruma, which writes some things as PCRE2 does and
// means others.

#include <functional>
#include <string>

namespace gca::text {

/// `pattern` as PCRE2 has to be given it (with UTF, UCP and MULTILINE) to match what Oniguruma matches.
/// `is_valid` says whether PCRE2 takes a pattern. Where there is no simple equivalent (set operations, nested
/// and POSIX classes, inline options but i, references), `refuse` is called with the construct, and must
/// throw.
std::string oniguruma_to_pcre2(const std::string& pattern,
                               const std::function<bool(const std::string&)>& is_valid,
                               const std::function<void(const std::string&)>& refuse);

}  // namespace gca::text
