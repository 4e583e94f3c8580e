#include "lib/core/error.h"

namespace gca {
namespace {

std::string sentence(const std::string& where, const std::string& what, const std::string& remedy) {
  return where + ": " + what + (remedy.empty() ? "" : "; " + remedy);
}

}  // namespace

void fail_usage(const std::string& where, const std::string& what, const std::string& remedy) {
  throw Error(ErrorKind::usage, sentence(where, what, remedy));
}

void fail_run(const std::string& where, const std::string& what, const std::string& remedy) {
  throw Error(ErrorKind::failed, sentence(where, what, remedy));
}

}  // namespace gca
