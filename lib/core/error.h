#pragma once
// The one error type of gca. Thrown anywhere in lib and apps, caught in main only.

#include <stdexcept>
#include <string>

namespace gca {

/// How the process ends: the exit status that main() derives from an Error.
enum class ErrorKind {
  failed = 1,  ///< something went wrong while running (disk full, non-finite loss)
  usage = 2,   ///< wrong flags or unusable input: the user can mend it
};

/// One line that says what was touched (file or flag), what is wrong, and what would be right.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws Error(usage, "`where`: `what`; `remedy`"): a file or flag, what is wrong with it, what would be right.
[[noreturn]] void fail_usage(const std::string& where, const std::string& what,
                             const std::string& remedy = "");

/// Throws Error(failed, ...) in the same form.
[[noreturn]] void fail_run(const std::string& where, const std::string& what, const std::string& remedy = "");

}  // namespace gca
