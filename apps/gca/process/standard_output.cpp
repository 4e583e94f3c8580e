#include "apps/gca/process/standard_output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "lib/core/error.h"

namespace gca::app {
namespace {

[[noreturn]] void fail_output() {
  if (errno == EPIPE) throw ClosedPipe();
  fail_run("standard output", std::string("cannot be written (") + std::strerror(errno) + ")");
}

}  // namespace

void write_output(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail_output();
}

void flush_output() {
  if (std::fflush(stdout) != 0) fail_output();
}

}  // namespace gca::app
