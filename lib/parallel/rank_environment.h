#pragma once
// Which rank of a run this process is, as its launcher tells it: torchrun and gca launch, mpirun (Open MPI), srun.

#include <functional>
#include <string>

namespace gca::parallel {

struct RankEnvironment {
  int rank = 0;
  int size = 1;                ///< 1: the process is alone
  bool is_one_machine = true;  ///< are all ranks here?
  int local_rank = 0;          ///< number among those on this machine; -1: the launcher does not say
  std::string address = {};    ///< where rank 0 listens for the others to meet
  int port = 0;
  /// A socket that the launcher has bound to `port`, so that no other process takes it until rank 0 listens there; of
  /// rank 0 under gca launch. -1: none.
  int listening_socket = -1;
  /// Of a store that the launcher itself keeps there, as torchrun does; empty: rank 0 keeps it.
  std::string store_prefix = {};
  std::string interface = {};  ///< GLOO_SOCKET_IFNAME; empty: the one that routes to `address`
};

/// The variable by which gca launch names listening_socket to rank 0.
inline constexpr const char* kListeningSocketVariable = "GCA_LISTENING_SOCKET";

/// `variable` gives the value of an environment variable, null where it is not set. Of the launchers' variables the
/// first complete set counts; none of them: the process is alone. Throws Error(usage) naming the variable that is missing or
/// of no use.
RankEnvironment rank_environment(const std::function<const char*(const char*)>& variable);

/// That of this process.
RankEnvironment rank_environment();

}  // namespace gca::parallel
