#pragma once
// Advisory locks (flock) on files that their owner keeps open. The system releases them however the process
// ends, and they hold between containers and hosts that share the file system, where process numbers mean
// nothing.

#include <string>

namespace gca {

enum class LockState {
  held,        ///< by this descriptor
  busy,        ///< by another one
  unsupported  ///< the file system has no locks (Lustre without flock, some network mounts)
};

/// Tries to lock an open file, without waiting.
LockState lock_file(int descriptor);

/// Writes into a lock file which process holds it.
void sign_lock_file(int descriptor);
/// "process 12 on HOST", of a lock file that was signed; else "another process".
std::string lock_holder(const std::string& path);

/// A line on standard error, once in a process: nothing keeps other processes from writing `path`.
void warn_without_locks(const std::string& path);

}  // namespace gca
