#pragma once
// Runs the real binary as a shell would: arguments, standard input, exit status, what it wrote.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "lib/core/files/atomic_file.h"
#include "tests/support/temporary_folder.h"

struct ProcessResult {
  int status = -1;  ///< exit status; 128 + signal number where a signal ended it
  std::string out;
  std::string err;

  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

/// A program with its three streams in files, so that no pipe can fill up.
class RunningProcess {
 public:
  explicit RunningProcess(const std::vector<std::string>& words, const std::string& input = "",
                          const std::string& out_path = "") {
    gca::write_file_atomically(folder_ / "in", input);
    const std::string out = out_path.empty() ? folder_ / "out" : out_path;
    out_path_ = out_path.empty() ? out : "";
    process_ = fork();
    if (process_ < 0) throw std::runtime_error("cannot fork");
    if (process_ > 0) return;
    redirect(folder_ / "in", O_RDONLY, STDIN_FILENO);
    redirect(out, O_WRONLY | O_CREAT, STDOUT_FILENO);
    redirect(folder_ / "err", O_WRONLY | O_CREAT, STDERR_FILENO);
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }

  ~RunningProcess() {
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }

  /// Will `signal_number` not end it by default: does it ignore or handle it?
  bool minds_signal(int signal_number) const {
    std::ifstream status("/proc/" + std::to_string(process_) + "/status");
    uint64_t minded = 0;
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("SigIgn:") || line.starts_with("SigCgt:"))
        minded |= std::stoull(line.substr(line.find(':') + 1), nullptr, 16);
    return (minded >> (signal_number - 1) & 1) != 0;
  }

  void send_signal(int signal_number) const { kill(process_, signal_number); }

  /// Waits until condition() holds; false where the process ends, or two minutes pass, before that.
  template <class Condition>
  bool wait_until(const Condition& condition) const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (!condition()) {
      siginfo_t info{};
      const bool has_ended =
          waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          info.si_pid != 0;
      if (has_ended || std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  /// Waits for the first byte on standard output; false where none comes.
  bool wait_for_output() const {
    return wait_until(
        [this] { return std::filesystem::exists(out_path_) && !std::filesystem::is_empty(out_path_); });
  }

  ProcessResult wait() {
    int code = 0;
    waitpid(process_, &code, 0);
    process_ = -1;
    ProcessResult result;
    result.status = WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
    // A process that was killed at once has not made them.
    if (std::filesystem::exists(out_path_)) result.out = gca::read_file(out_path_);
    if (std::filesystem::exists(folder_ / "err")) result.err = gca::read_file(folder_ / "err");
    return result;
  }

 private:
  static void redirect(const std::string& path, int flags, int target) {
    const int descriptor = open(path.c_str(), flags, 0600);
    if (descriptor < 0 || dup2(descriptor, target) < 0) _exit(126);
  }

  TemporaryFolder folder_;
  std::string out_path_;
  pid_t process_ = -1;
};

inline ProcessResult run_program(const std::vector<std::string>& words, const std::string& input = "") {
  return RunningProcess(words, input).wait();
}

/// The binary under test is GCA_BINARY.
inline std::vector<std::string> gca_words(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), GCA_BINARY);
  return arguments;
}

inline ProcessResult run_gca(const std::vector<std::string>& arguments, const std::string& input = "") {
  return run_program(gca_words(arguments), input);
}
