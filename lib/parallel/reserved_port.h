#pragma once
// A port at which ranks will meet, kept until one of them listens there.

namespace gca::parallel {

/// A port of the loopback interface that no other process has, for as long as the socket that is bound to it is open.
class ReservedPort {
 public:
  /// Throws Error(failed) where there is none.
  ReservedPort();
  ~ReservedPort();
  ReservedPort(const ReservedPort&) = delete;
  ReservedPort& operator=(const ReservedPort&) = delete;

  int number() const { return number_; }
  /// The socket: bound, not listening, closed when a process becomes another program.
  int socket() const { return socket_; }

 private:
  int socket_;
  int number_ = 0;
};

}  // namespace gca::parallel
