#pragma once
// Scratch memory that a thread keeps from call to call, so that kernels neither allocate nor fault pages in
// the steady state. It grows to the largest need and is given back when the thread ends.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace gca::kernels {

/// One piece of a thread's memory; `Owner` is a type of the kernel's that distinguishes its pieces from others'.
template <typename Element, typename Owner>
class ThreadWorkspace {
 public:
  /// At least `count` elements at a cache line, with any contents; valid until this thread's next call.
  static Element* get(int64_t count) {
    thread_local Memory memory;
    const auto size_bytes = static_cast<size_t>(count) * sizeof(Element);
    if (size_bytes > memory.size_bytes) {
      constexpr size_t kAlignment = 64;
      const size_t rounded = (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
      memory.elements.reset(static_cast<Element*>(std::aligned_alloc(kAlignment, rounded)));
      memory.size_bytes = memory.elements ? rounded : 0;
      if (!memory.elements) throw std::bad_alloc();
    }
    return memory.elements.get();
  }

 private:
  struct Free {
    void operator()(Element* elements) const { std::free(elements); }
  };
  struct Memory {
    std::unique_ptr<Element[], Free> elements;
    size_t size_bytes = 0;
  };
};

}  // namespace gca::kernels
