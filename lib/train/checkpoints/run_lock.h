#pragma once
// One run a folder: an advisory lock (flock) on FOLDER/.lock that the system releases however the process
// ends.

#include <string>

namespace gca::train {

class RunLock {
 public:
  /// Throws Error(usage) when another process holds the lock, naming it. Where the file system has no locks it
  /// warns on standard error and goes on.
  explicit RunLock(const std::string& folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace gca::train
