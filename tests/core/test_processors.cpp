#include "lib/core/machine/processors.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/temporary_folder.h"

using namespace gca;

namespace {

/// A tree of control groups as the system shows it.
struct Groups {
  TemporaryFolder folder;

  void put(const std::string& path, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(folder / path).parent_path());
    std::ofstream(folder / path) << content;
  }
  int quota() const { return processor_quota(folder / "cgroup", folder / "fs"); }
};

}  // namespace

TEST_CASE("the quota of version 2 is that of the group or of one above it, rounded up") {
  const Groups groups;
  CHECK(groups.quota() == 0);
  groups.put("cgroup", "0::/slice/job\n");
  CHECK(groups.quota() == 0);
  groups.put("fs/slice/job/cpu.max", "max 100000\n");
  CHECK(groups.quota() == 0);
  groups.put("fs/slice/cpu.max", "350000 100000\n");
  CHECK(groups.quota() == 4);
  groups.put("fs/slice/job/cpu.max", "200000 100000\n");
  CHECK(groups.quota() == 2);
  groups.put("fs/slice/job/cpu.max", "5000 100000\n");
  CHECK(groups.quota() == 1);
}

TEST_CASE("in a container the group is mounted as the root") {
  const Groups groups;
  groups.put("cgroup", "0::/../../docker/0123abc\n");
  groups.put("fs/cpu.max", "150000 100000\n");
  CHECK(groups.quota() == 2);
}

TEST_CASE("the quota of version 1 stands under the controller cpu") {
  const Groups groups;
  groups.put("cgroup", "12:memory:/job\n4:cpu,cpuacct:/job\n0::/\n");
  groups.put("fs/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
  groups.put("fs/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  groups.put("fs/memory/job/cpu.cfs_quota_us", "100000\n");
  CHECK(groups.quota() == 0);
  groups.put("fs/cpu,cpuacct/job/cpu.cfs_quota_us", "300000\n");
  CHECK(groups.quota() == 3);
  groups.put("fs/cpu/cpu.cfs_quota_us", "100000\n");
  groups.put("fs/cpu/cpu.cfs_period_us", "100000\n");
  CHECK(groups.quota() == 1);
}

TEST_CASE("OMP_NUM_THREADS and the affinity bound the number of processors") {
  const char* before = std::getenv("OMP_NUM_THREADS");
  const std::string kept = before == nullptr ? "" : before;
  unsetenv("OMP_NUM_THREADS");
  const int all = usable_processors();
  CHECK(all >= 1);
  for (const auto& one : {std::pair{"1", 1},
                          {" 1,4", 1},
                          {"100000", all},
                          {"", all},
                          {"x", all},
                          {"0", all},
                          {"-3", all},
                          {"1x", all}}) {
    CAPTURE(one.first);
    setenv("OMP_NUM_THREADS", one.first, 1);
    CHECK(usable_processors() == one.second);
    CHECK(available_processors() == all);
  }
  unsetenv("OMP_NUM_THREADS");
  cpu_set_t allowed, one;
  REQUIRE(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
  CPU_ZERO(&one);
  for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i)
    if (CPU_ISSET(i, &allowed)) CPU_SET(i, &one);
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  CHECK(usable_processors() == 1);
  sched_setaffinity(0, sizeof(allowed), &allowed);
  if (!kept.empty()) setenv("OMP_NUM_THREADS", kept.c_str(), 1);
}
