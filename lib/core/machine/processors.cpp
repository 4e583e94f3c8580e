#include "lib/core/machine/processors.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string_view>

namespace gca {
namespace {

std::optional<long> number_in(const std::string& path) {
  std::ifstream file(path);
  long number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

int rounded_up(long quota, long period) {
  return static_cast<int>(std::clamp<long>((quota + period - 1) / period, 1, 1 << 20));
}

/// 0 where `folder` sets no quota.
int quota_of(const std::string& folder) {
  long quota = 0, period = 0;
  std::ifstream file(folder + "/cpu.max");  // version 2: "200000 100000", or "max 100000"
  if (file >> quota >> period) return quota > 0 && period > 0 ? rounded_up(quota, period) : 0;
  const auto quota_us = number_in(folder + "/cpu.cfs_quota_us");  // version 1; -1 for none
  const auto period_us = number_in(folder + "/cpu.cfs_period_us");
  return quota_us && period_us && *quota_us > 0 && *period_us > 0 ? rounded_up(*quota_us, *period_us) : 0;
}

/// The lesser of two numbers of which 0 means none.
int lesser(int a, int b) {
  return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
}

int processors_of_affinity() {
  // Machines may have more processors than a cpu_set_t has bits.
  for (int bits = CPU_SETSIZE; bits <= 1 << 20; bits *= 2) {
    cpu_set_t* allowed = CPU_ALLOC(static_cast<size_t>(bits));
    const size_t size = CPU_ALLOC_SIZE(static_cast<size_t>(bits));
    CPU_ZERO_S(size, allowed);
    const bool is_known = ::sched_getaffinity(0, size, allowed) == 0;
    const int count = is_known ? CPU_COUNT_S(size, allowed) : 0;
    CPU_FREE(allowed);
    if (is_known) return std::max(1, count);
  }
  return 1;
}

/// Of a list, one number a level of nesting, the first; 0 for none.
int omp_num_threads() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return 0;
  while (*text == ' ') ++text;
  int number = 0;
  const auto [rest, error] = std::from_chars(text, text + std::strlen(text), number);
  const bool is_number = error == std::errc() && (*rest == '\0' || *rest == ',' || *rest == ' ');
  return is_number ? std::max(0, number) : 0;
}

}  // namespace

int processor_quota(const std::string& group_file, const std::string& mount) {
  int quota = 0;
  std::ifstream groups(group_file);
  for (std::string line; std::getline(groups, line);) {  // "4:cpu,cpuacct:/a/b", version 2: "0::/a/b"
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool is_version_2 = controllers.empty();
    if (!is_version_2 && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    std::string group = line.substr(second + 1);
    // In a container the group may be named as the host sees it, and be mounted as the root.
    for (;;) {
      while (group.ends_with('/')) group.pop_back();
      if (is_version_2) {
        quota = lesser(quota, quota_of(mount + group));
      } else {
        quota = lesser(quota, quota_of(mount + "/cpu" + group));
        quota = lesser(quota, quota_of(mount + "/" + controllers + group));
      }
      if (group.empty()) break;
      group.resize(std::min(group.size(), group.rfind('/')));
    }
  }
  return quota;
}

int available_processors() {
  return lesser(processors_of_affinity(), processor_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
}

int usable_processors() {
  return lesser(available_processors(), omp_num_threads());
}

}  // namespace gca
