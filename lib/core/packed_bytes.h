#pragma once
// Values as they lie in memory, one after the other in a string: what processes of one program send each other.

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace gca {

template <class T>
void pack(std::string& bytes, const T* values, size_t count) {
  static_assert(std::is_trivially_copyable_v<T>);
  bytes.append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

/// Takes from the front of `bytes`, which must hold so many.
template <class T>
void unpack(std::string_view& bytes, T* values, size_t count) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(values, bytes.data(), count * sizeof(T));
  bytes.remove_prefix(count * sizeof(T));
}

}  // namespace gca
