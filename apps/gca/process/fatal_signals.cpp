#include "apps/gca/process/fatal_signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <string_view>

#include "lib/core/files/folder_lock.h"

namespace gca::app {
namespace {

// A signal handler: no memory is allocated, and only calls that are safe in one are made.

void say(std::string_view text) {
  if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;
}

/// Takes a hexadecimal number from the front of `text`.
uintptr_t take_number(std::string_view& text) {
  uintptr_t number = 0;
  for (; !text.empty(); text.remove_prefix(1)) {
    const char c = text.front();
    if (c >= '0' && c <= '9')
      number = number * 16 + static_cast<uintptr_t>(c - '0');
    else if (c >= 'a' && c <= 'f')
      number = number * 16 + static_cast<uintptr_t>(c - 'a' + 10);
    else
      break;
  }
  return number;
}

/// Says the file that is mapped at `address`, after a line "BEGIN-END perms offset device inode PATH" of
/// /proc/self/maps; false where there is none.
bool say_mapped_file(uintptr_t address) {
  const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  std::array<char, 8192> buffer;
  size_t size = 0;
  for (;;) {
    const ssize_t count = read(maps, buffer.data() + size, buffer.size() - size);
    if (count <= 0) return false;
    size += static_cast<size_t>(count);
    std::string_view rest(buffer.data(), size);
    for (size_t newline; (newline = rest.find('\n')) != std::string_view::npos;) {
      std::string_view line = rest.substr(0, newline);
      rest.remove_prefix(newline + 1);
      const uintptr_t begin = take_number(line);
      if (!line.empty()) line.remove_prefix(1);
      const uintptr_t end = take_number(line);
      if (address < begin || address >= end) continue;
      const size_t path = line.find('/');
      if (path == std::string_view::npos) return false;
      say(line.substr(path));
      return true;
    }
    if (rest.size() == buffer.size()) return false;  // a line that is longer
    for (size_t i = 0; i < rest.size(); ++i) buffer[i] = rest[i];
    size = rest.size();
  }
}

void on_bus_error(int, siginfo_t* info, void*) {
  say("gca: error: ");
  if (!say_mapped_file(reinterpret_cast<uintptr_t>(info->si_addr))) say("a file");
  say(": was cut short while it was read; try again when nothing writes to it\n");
  _exit(1);
}

void end_at_once(int signal_number) {
  remove_lock_files();
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

}  // namespace

void handle_fatal_signals() {
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);

  action = {};
  action.sa_handler = end_at_once;
  for (const int signal_number : {SIGINT, SIGTERM}) {
    struct sigaction before = {};
    sigaction(signal_number, nullptr, &before);
    // Whoever started the process may have had it ignore them (nohup, a job in the background).
    if (before.sa_handler == SIG_DFL) sigaction(signal_number, &action, nullptr);
  }
}

}  // namespace gca::app
