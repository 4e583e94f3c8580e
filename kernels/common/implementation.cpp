#include "kernels/common/implementation.h"

#include <atomic>

namespace gca::kernels {
namespace {
std::atomic<Implementation> current{Implementation::fast};
}

Implementation implementation() {
  return current.load(std::memory_order_relaxed);
}

ImplementationGuard::ImplementationGuard(Implementation chosen) : previous_(current.exchange(chosen)) {}

ImplementationGuard::~ImplementationGuard() {
  current.store(previous_);
}

}  // namespace gca::kernels
