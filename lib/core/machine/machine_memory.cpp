#include "lib/core/machine/machine_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <optional>

#include <fmt/format.h>

#include "lib/core/files/proc_file.h"

namespace gca {
namespace {

std::optional<int64_t> whole_number(const std::string& text) {
  int64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

/// A field "12345 kB", in bytes; 0 where there is none.
int64_t kilobyte_field(const char* path, const char* name) {
  return whole_number(field_of_proc_file(path, name)).value_or(0) * 1024;
}

std::optional<int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  file >> text;
  return whole_number(text);
}

/// The number behind `name` in a file of "name number" lines; 0 where there is none.
int64_t statistic(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string key;
  for (int64_t value = 0; file >> key >> value;)
    if (key == name) return value;
  return 0;
}

/// What a control group whose files stand in `folder` leaves; nothing where it sets no bound. Cached pages of
/// files count as free: the system drops them when memory is asked for.
std::optional<int64_t> left_in_control_group(const std::string& folder, const char* bound_file,
                                             const char* used_file, const char* cached) {
  const auto bound = number_in(folder + bound_file);
  const auto used = number_in(folder + used_file);
  if (!bound || !used) return std::nullopt;
  return std::max<int64_t>(0, *bound - *used + statistic(folder + "/memory.stat", cached));
}

std::string group_path(const char* line) {
  const std::string field = field_of_proc_file("/proc/self/cgroup", line);
  return field.substr(std::min(field.size(), field.find('/')));
}

}  // namespace

int64_t available_memory_bytes() {
  int64_t available = kilobyte_field("/proc/meminfo", "MemAvailable");
  const std::string group = group_path("0:");
  for (const std::string& folder : {"/sys/fs/cgroup" + group, std::string("/sys/fs/cgroup")})
    if (const auto left = left_in_control_group(folder, "/memory.max", "/memory.current", "inactive_file"))
      available = std::min(available, *left);
  if (const auto left = left_in_control_group("/sys/fs/cgroup/memory", "/memory.limit_in_bytes",
                                              "/memory.usage_in_bytes", "total_inactive_file"))
    available = std::min(available, *left);
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    const int64_t left = static_cast<int64_t>(limit.rlim_cur) - kilobyte_field("/proc/self/status", "VmSize");
    available = std::min(available, std::max<int64_t>(0, left));
  }
  return available;
}

int64_t resident_memory_bytes() {
  return kilobyte_field("/proc/self/status", "VmRSS");
}

int64_t peak_memory_bytes() {
  // getrusage() would count the program that started this one, too.
  return kilobyte_field("/proc/self/status", "VmHWM");
}

std::string memory_text(double size_bytes) {
  if (size_bytes < 1024) return fmt::format("{:.0f} B", size_bytes);
  double size = size_bytes;
  for (const char* unit : {"KiB", "MiB", "GiB", "TiB"}) {
    size /= 1024;
    if (size < 1000) return fmt::format("{:.{}f} {}", size, size < 10 ? 2 : size < 100 ? 1 : 0, unit);
  }
  return fmt::format("{:.3g} PiB", size / 1024);
}

}  // namespace gca
