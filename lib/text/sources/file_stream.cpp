#include "lib/text/sources/file_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "lib/core/error.h"

namespace gca::text {
namespace {

constexpr int kLookEveryMs = 100;

class FileStream final : public ByteStream {
 public:
  FileStream(const std::string& path, std::function<void()> poll)
      : name_(path == "-" ? "standard input" : path), poll_(std::move(poll)) {
    if (path == "-") {
      descriptor_ = STDIN_FILENO;
      return;
    }
    // Opening a named pipe would wait for its writer, and not see a signal that came after the last look at poll_;
    // wait_for_bytes() waits for it instead. Other files take no notice of O_NONBLOCK.
    do {
      poll_();
      descriptor_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    } while (descriptor_ < 0 && errno == EINTR);
    if (descriptor_ < 0) fail_unreadable();
    struct stat status;
    if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) size_bytes_ = status.st_size;
  }

  ~FileStream() override {
    if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
  }

  FileStream(const FileStream&) = delete;
  FileStream& operator=(const FileStream&) = delete;

  size_t read(std::span<char> out) override {
    for (;;) {
      wait_for_bytes();
      const ssize_t count = ::read(descriptor_, out.data(), out.size());
      if (count > 0) {
        read_bytes_ += count;
        return static_cast<size_t>(count);
      }
      if (count == 0) break;
      if (errno != EINTR && errno != EAGAIN) fail_unreadable();
    }
    if (read_bytes_ < size_bytes_)
      fail_run(name_,
               fmt::format("was cut short while it was read, from {} to {} bytes", size_bytes_, read_bytes_),
               "try again when nothing writes to it");
    return 0;
  }

  const std::string& name() const override { return name_; }

 private:
  /// Until there is something to read, or an end of it. A read of a pipe that blocked would not see a signal that came
  /// after the last look at poll_.
  void wait_for_bytes() const {
    pollfd one = {descriptor_, POLLIN, 0};
    for (;;) {
      poll_();
      const int ready = ::poll(&one, 1, kLookEveryMs);
      if (ready > 0 || (ready < 0 && errno != EINTR)) return;
    }
  }

  [[noreturn]] void fail_unreadable() const {
    fail_usage(name_, std::string("cannot be read (") + std::strerror(errno) + ")");
  }

  std::string name_;
  std::function<void()> poll_;
  int descriptor_ = -1;
  int64_t size_bytes_ = 0;  ///< when it was opened; 0 where it is not a regular file
  int64_t read_bytes_ = 0;
};

}  // namespace

std::unique_ptr<ByteStream> open_file_stream(const std::string& path, std::function<void()> poll) {
  return std::make_unique<FileStream>(path, std::move(poll));
}

}  // namespace gca::text
