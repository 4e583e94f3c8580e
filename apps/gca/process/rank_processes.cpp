#include "apps/gca/process/rank_processes.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "apps/gca/commands/commands.h"
#include "apps/gca/process/standard_output.h"
#include "lib/core/error.h"
#include "lib/parallel/rank_environment.h"
#include "lib/parallel/reserved_port.h"

namespace gca::app {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kGrace = std::chrono::seconds(5);
constexpr std::array kPassedOn = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU};

[[noreturn]] void fail_system(const std::string& what) {
  fail_run(what, std::strerror(errno));
}

/// In a child process: the program that it becomes shall have the socket of the port, and listen.
void hand_over(const parallel::ReservedPort& port) {
  fcntl(port.socket(), F_SETFD, 0);
  setenv(parallel::kListeningSocketVariable, std::to_string(port.socket()).c_str(), 1);
}

class RankProcesses {
 public:
  RankProcesses(int ranks, int threads, const std::vector<std::string>& command) {
    flush_output();
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGCHLD);
    for (const int signal_number : kPassedOn) sigaddset(&handled, signal_number);
    sigprocmask(SIG_BLOCK, &handled, &mask_before_);
    signals_ = signalfd(-1, &handled, SFD_CLOEXEC);
    if (signals_ < 0) fail_system("signals");
    const std::string port = std::to_string(port_.number());
    for (int rank = 0; rank < ranks; ++rank) {
      setenv("RANK", std::to_string(rank).c_str(), 1);
      setenv("LOCAL_RANK", std::to_string(rank).c_str(), 1);
      setenv("WORLD_SIZE", std::to_string(ranks).c_str(), 1);
      setenv("LOCAL_WORLD_SIZE", std::to_string(ranks).c_str(), 1);
      setenv("MASTER_ADDR", "127.0.0.1", 1);
      setenv("MASTER_PORT", port.c_str(), 1);
      setenv("OMP_NUM_THREADS", std::to_string(threads).c_str(), 1);
      start(rank, command);
    }
  }

  int wait() {
    while (running() > 0) {
      poll_once();
      if (deadline_ && Clock::now() >= *deadline_) {
        // SIGTERM asks a run to save: one that cannot must not stay.
        pass_on(is_told_to_end_ ? SIGKILL : SIGTERM);
        is_told_to_end_ = true;
        deadline_ = Clock::now() + kGrace;
      }
    }
    for (Rank& rank : ranks_) {
      while (rank.error_stream >= 0 && is_readable(rank.error_stream)) copy_errors(rank);
      if (!rank.line.empty()) print_line(rank);
    }
    if (failure_ != 0) return failure_;
    for (const Rank& rank : ranks_)
      if (rank.status != 0) return rank.status;
    return 0;
  }

 private:
  struct Rank {
    int number = 0;
    pid_t process = -1;     ///< -1: has ended
    int error_stream = -1;  ///< its standard error; -1: goes where ours does, or is at its end
    std::string line;       ///< of it, not yet complete
    int status = 0;
  };

  void start(int number, const std::vector<std::string>& command) {
    std::array<int, 2> errors = {-1, -1};
    if (number > 0 && pipe2(errors.data(), O_CLOEXEC) != 0) fail_system("a pipe");
    const pid_t parent = getpid();
    const pid_t process = fork();
    if (process < 0) fail_system("a process");
    if (process == 0) become_rank(parent, number, errors[1], command);
    if (errors[1] >= 0) close(errors[1]);
    ranks_.push_back({number, process, errors[0], "", 0});
  }

  [[noreturn]] void become_rank(pid_t parent, int number, int errors,
                                const std::vector<std::string>& command) const {
    // Ctrl-C reaches this process alone, which passes it on: ranks take a second one as the order to end at once.
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nothing, STDIN_FILENO);
    if (number > 0) {
      dup2(nothing, STDOUT_FILENO);
      dup2(errors, STDERR_FILENO);
    }
    if (number == 0) hand_over(port_);
    sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
    std::string name = "gca";
    std::vector<std::string> words = command;
    std::vector<char*> arguments = {name.data()};
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    execv("/proc/self/exe", arguments.data());
    _exit(127);
  }

  int running() const {
    int count = 0;
    for (const Rank& rank : ranks_) count += rank.process > 0 ? 1 : 0;
    return count;
  }

  static bool is_readable(int handle) {
    pollfd one = {handle, POLLIN, 0};
    return poll(&one, 1, 0) == 1;
  }

  /// Waits for a signal, for what a rank says, or for the deadline.
  void poll_once() {
    std::vector<pollfd> handles = {{signals_, POLLIN, 0}};
    std::vector<Rank*> speakers;
    for (Rank& rank : ranks_)
      if (rank.error_stream >= 0) {
        handles.push_back({rank.error_stream, POLLIN, 0});
        speakers.push_back(&rank);
      }
    int timeout_ms = -1;
    if (deadline_) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(*deadline_ - Clock::now()).count();
      timeout_ms = static_cast<int>(std::max<int64_t>(0, left + 1));
    }
    if (poll(handles.data(), handles.size(), timeout_ms) <= 0) return;
    for (size_t i = 0; i < speakers.size(); ++i)
      if (handles[i + 1].revents != 0) copy_errors(*speakers[i]);
    if (handles[0].revents != 0) take_signal();
  }

  void take_signal() {
    signalfd_siginfo info{};
    if (read(signals_, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return;
    if (info.ssi_signo != SIGCHLD) return pass_on(static_cast<int>(info.ssi_signo));
    for (Rank& rank : ranks_) {
      int code = 0;
      if (rank.process > 0 && waitpid(rank.process, &code, WNOHANG) == rank.process) end(rank, code);
    }
  }

  void end(Rank& rank, int code) {
    rank.process = -1;
    rank.status = WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
    const bool has_failed = rank.status != 0 && rank.status != kInterruptedStatus;
    if (!has_failed || failure_ != 0) return;
    failure_ = rank.status;
    deadline_ = Clock::now() + kGrace;
    if (WIFSIGNALED(code))
      fmt::print(stderr, "gca launch: error: rank {} was ended by signal {} ({})\n", rank.number,
                 WTERMSIG(code), strsignal(WTERMSIG(code)));
  }

  void pass_on(int signal_number) const {
    for (const Rank& rank : ranks_)
      if (rank.process > 0) kill(rank.process, signal_number);
  }

  void copy_errors(Rank& rank) {
    std::array<char, 4096> buffer;
    const ssize_t size = read(rank.error_stream, buffer.data(), buffer.size());
    if (size <= 0) {
      if (size < 0 && errno == EINTR) return;
      close(rank.error_stream);
      rank.error_stream = -1;
      return;
    }
    for (ssize_t i = 0; i < size; ++i) {
      rank.line += buffer[static_cast<size_t>(i)];
      if (rank.line.back() == '\n') print_line(rank);
    }
  }

  static void print_line(Rank& rank) {
    if (rank.line.back() != '\n') rank.line += '\n';
    fmt::print(stderr, "[{}] {}", rank.number, rank.line);
    rank.line.clear();
  }

  sigset_t mask_before_{};
  parallel::ReservedPort port_;
  int signals_ = -1;
  std::vector<Rank> ranks_;
  int failure_ = 0;  ///< status of the first rank that failed
  std::optional<Clock::time_point> deadline_;
  bool is_told_to_end_ = false;
};

}  // namespace

int run_ranks(int ranks, int threads, const std::vector<std::string>& command) {
  return RankProcesses(ranks, threads, command).wait();
}

}  // namespace gca::app
