#include "apps/gca/process/interrupt.h"

#include <csignal>

#include "lib/core/interrupted.h"

namespace gca::app {
namespace {

std::atomic<bool> g_interrupted{false};
std::atomic<bool> g_save_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch lock-free atomics only");

void handle(int signal_number, void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(signal_number, &action, nullptr);
}

bool is_ignored(int signal_number) {
  struct sigaction action = {};
  return sigaction(signal_number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

const std::atomic<bool>& interrupt_flag() {
  return g_interrupted;
}

void install_interrupt_handler() {
  const auto interrupt = [](int) { g_interrupted.store(true); };
  // The second one finds the default action.
  for (const int signal_number : {SIGINT, SIGTERM}) handle(signal_number, interrupt, SA_RESETHAND);
  for (const int signal_number : {SIGQUIT, SIGUSR2, SIGXCPU}) handle(signal_number, interrupt, 0);
  if (!is_ignored(SIGHUP)) handle(SIGHUP, interrupt, 0);
}

void throw_if_interrupted() {
  if (g_interrupted.load()) throw Interrupted();
}

std::atomic<bool>& save_request() {
  return g_save_requested;
}

void install_save_handler() {
  handle(
      SIGUSR1, [](int) { g_save_requested.store(true); }, SA_RESTART);
}

}  // namespace gca::app
