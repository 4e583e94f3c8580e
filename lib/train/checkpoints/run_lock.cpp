#include "lib/train/checkpoints/run_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/core/error.h"
#include "lib/core/files/file_lock.h"

namespace gca::train {

RunLock::RunLock(const std::string& folder) {
  const std::string path = folder + "/.lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_usage(path, std::string("cannot be opened: ") + std::strerror(errno));
  const LockState state = lock_file(descriptor_);
  if (state == LockState::busy) {
    ::close(descriptor_);
    fail_usage(folder, "another run is writing here, " + lock_holder(path),
               "wait for it or choose another --output");
  }
  if (state == LockState::unsupported) warn_without_locks(folder);
  sign_lock_file(descriptor_);
}

RunLock::~RunLock() {
  ::close(descriptor_);
}

}  // namespace gca::train
