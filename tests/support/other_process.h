#pragma once
// A second process of a test, which does something and then lives until it is killed.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <stdexcept>

class OtherProcess {
 public:
  /// `work(ready)` calls ready() where the test may go on; what it holds then is held until kill().
  template <class Work>
  explicit OtherProcess(const Work& work) {
    int ends[2];
    if (pipe(ends) != 0 || (id_ = fork()) < 0) throw std::runtime_error("cannot start a process");
    if (id_ == 0) {
      try {
        work([&] {
          if (write(ends[1], "x", 1) != 1) _exit(1);
          for (;;) pause();
        });
      } catch (const std::exception&) {
      }
      _exit(1);
    }
    close(ends[1]);
    char byte = 0;
    const bool is_ready = read(ends[0], &byte, 1) == 1;
    close(ends[0]);
    if (!is_ready) throw std::runtime_error("the other process failed");
  }
  ~OtherProcess() { kill(); }
  OtherProcess(const OtherProcess&) = delete;
  OtherProcess& operator=(const OtherProcess&) = delete;

  pid_t id() const { return id_; }
  void kill() const {
    if (id_ <= 0) return;
    ::kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
    id_ = -1;
  }

 private:
  mutable pid_t id_ = -1;
};
