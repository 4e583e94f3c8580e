// A library for LD_PRELOAD that makes one call of the system fail, as a full or a broken disk does:
//   GCA_FAULT        CALL:ERROR:NUMBER  the NUMBERth such call (from 1) fails; "NUMBER+": and all after it
//                    CALL: write, fsync, rename (renameat2, too), exchange (renameat2 that exchanges), create (open
//                    with O_CREAT), mkdir, flock
//                    ERROR: ENOSPC, EIO, EINVAL, ENOSYS
//   GCA_FAULT_UNDER  only calls on files whose path begins so

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <string>
#include <utility>

namespace {

struct Fault {
  std::string call;
  int error = 0;
  long number = 0;
  bool stays = false;
  std::string under;
};

Fault read_fault() {
  Fault fault;
  const char* text = std::getenv("GCA_FAULT");
  const char* under = std::getenv("GCA_FAULT_UNDER");
  if (text == nullptr || under == nullptr) return fault;
  const std::string words = text;
  const size_t first = words.find(':');
  const size_t second = words.find(':', first + 1);
  fault.call = words.substr(0, first);
  const std::string error = words.substr(first + 1, second - first - 1);
  for (const auto& [name, number] :
       {std::pair{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EINVAL", EINVAL}, {"ENOSYS", ENOSYS}})
    if (error == name) fault.error = number;
  fault.number = std::atol(words.c_str() + second + 1);
  fault.stays = words.back() == '+';
  fault.under = under;
  return fault;
}

/// True when this call on `path` is to fail; errno is then set.
bool fails(const char* call, const std::string& path) {
  static const Fault fault = read_fault();
  static std::atomic<long> calls = 0;
  if (fault.call != call || path.compare(0, fault.under.size(), fault.under) != 0) return false;
  const long number = ++calls;
  if (number < fault.number || (number > fault.number && !fault.stays)) return false;
  errno = fault.error;
  return true;
}

std::string path_of(int descriptor) {
  std::string target(4096, '\0');
  const ssize_t size =
      readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), target.data(), target.size());
  target.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return target;
}

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* data, size_t size) {
  if (fails("write", path_of(descriptor))) return -1;
  return real<ssize_t(int, const void*, size_t)>("write")(descriptor, data, size);
}

int fsync(int descriptor) {
  if (fails("fsync", path_of(descriptor))) return -1;
  return real<int(int)>("fsync")(descriptor);
}

int rename(const char* from, const char* to) {
  if (fails("rename", to)) return -1;
  return real<int(const char*, const char*)>("rename")(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  if (fails("rename", to) || ((flags & RENAME_EXCHANGE) != 0 && fails("exchange", to))) return -1;
  return real<int(int, const char*, int, const char*, unsigned)>("renameat2")(from_folder, from, to_folder,
                                                                              to, flags);
}

int flock(int descriptor, int operation) {
  if (fails("flock", path_of(descriptor))) return -1;
  return real<int(int, int)>("flock")(descriptor, operation);
}

int mkdir(const char* path, mode_t mode) {
  if (fails("mkdir", path)) return -1;
  return real<int(const char*, mode_t)>("mkdir")(path, mode);
}

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if (fails("create", path)) return -1;
  }
  return real<int(const char*, int, mode_t)>("open")(path, flags, mode);
}

}  // extern "C"
