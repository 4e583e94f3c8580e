#pragma once

#include <string>

namespace gca {

/// The number of processors that this process may run on: the least of its affinity and of the quota of its control
/// group (rounded up); at least 1.
int available_processors();

/// How many of them it is to use: no more than OMP_NUM_THREADS.
int usable_processors();

/// The quota of processors, rounded up, of the control group that `group_file` (/proc/self/cgroup) names and of
/// those above it, in the file system mounted at `mount` (/sys/fs/cgroup), version 1 or 2; 0 where none is set.
int processor_quota(const std::string& group_file, const std::string& mount);

}  // namespace gca
