#pragma once
// Work that is not an operator of the dispatcher, reported to profilers as if it were.

#include <memory>

namespace at {
struct RecordFunction;
}

namespace gca::kernels {

/// From construction to destruction; costs nothing to speak of while nobody listens. `name` is a literal.
class NamedWork {
 public:
  explicit NamedWork(const char* name);
  ~NamedWork();
  NamedWork(const NamedWork&) = delete;
  NamedWork& operator=(const NamedWork&) = delete;

 private:
  std::unique_ptr<at::RecordFunction> record_;
};

}  // namespace gca::kernels
