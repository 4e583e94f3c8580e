#pragma once
// Which version of every operator runs: the fast one, or the plain reference beside it.

namespace gca::kernels {

enum class Implementation {
  fast,       ///< the version a user runs
  reference,  ///< obvious loops or composed ATen calls: the oracle of the tests
  emulated,   ///< the fast version of a processor that multiplies bf16, on one that may not: for tests
};

Implementation implementation();

/// Selects the version for all threads while it lives. Used by tests and by gca_golden_check, whose bf16
/// tolerance is derived from the error of the plain version.
class ImplementationGuard {
 public:
  explicit ImplementationGuard(Implementation chosen);
  ~ImplementationGuard();
  ImplementationGuard(const ImplementationGuard&) = delete;
  ImplementationGuard& operator=(const ImplementationGuard&) = delete;

 private:
  Implementation previous_;
};

}  // namespace gca::kernels
