#pragma once
// How much memory there is to have, and how much this process has.

#include <cstdint>
#include <string>

namespace gca {

/// What the system can still give to this process: MemAvailable, or less where a control group (cgroup v2) or
/// RLIMIT_AS sets a bound.
int64_t available_memory_bytes();

/// Resident memory of this process.
int64_t resident_memory_bytes();

/// Peak resident memory of this process so far.
int64_t peak_memory_bytes();

/// "512 B", "12.3 MiB", "1.50 GiB": three digits.
std::string memory_text(double size_bytes);

}  // namespace gca
