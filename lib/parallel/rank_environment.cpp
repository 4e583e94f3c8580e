#include "lib/parallel/rank_environment.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "lib/core/error.h"

namespace gca::parallel {
namespace {

/// The variables of a launcher. SLURM_STEP_..., not SLURM_NTASKS: the latter is set in a batch script as well, where srun has
/// started nothing.
struct Launcher {
  const char* name;
  const char* rank;
  const char* size;
  const char* local_size;  ///< ranks on this machine
  const char* local_rank;
};

constexpr std::array kLaunchers = {
    Launcher{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK"},
    Launcher{"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE",
             "OMPI_COMM_WORLD_LOCAL_RANK"},
    Launcher{"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_LOCALID"}};

constexpr int kDefaultPort = 29500;
constexpr int kMaxRanks = 1 << 20;
constexpr int kMaxPort = 65535;
constexpr int kMaxSocket = 1 << 20;

using Variables = std::function<const char*(const char*)>;

/// "4", and "4(x2)", Slurm's four on each of two machines, is no number.
std::optional<int> number_of(const char* text) {
  if (text == nullptr) return {};
  int number = 0;
  const std::string_view view = text;
  const auto [rest, error] = std::from_chars(view.data(), view.data() + view.size(), number);
  if (error != std::errc() || rest != view.data() + view.size()) return {};
  return number;
}

int require_number(const Variables& variable, const char* name, int least, int most) {
  const std::optional<int> number = number_of(variable(name));
  if (!number || *number < least || *number > most)
    fail_usage(std::string(name) + "=" + variable(name), "is not a number that ranks can have",
               fmt::format("give a whole number from {} to {}", least, most));
  return *number;
}

/// Where rank 0 is to be met.
std::string meeting_address(const Variables& variable, const RankEnvironment& environment,
                            const std::string& launcher) {
  // LibTorch's own name of it first, then that of the machine that srun was called on.
  for (const char* name : {"MASTER_ADDR", "SLURM_LAUNCH_NODE_IPADDR"})
    if (const char* address = variable(name); address != nullptr && *address != '\0') return address;
  if (!environment.is_one_machine)
    fail_usage("MASTER_ADDR",
               launcher + " started ranks on several machines, and does not say where rank 0 is",
               "set MASTER_ADDR to the name of its machine");
  return "127.0.0.1";
}

}  // namespace

RankEnvironment rank_environment(const Variables& variable) {
  RankEnvironment environment;
  for (const Launcher& launcher : kLaunchers) {
    if (variable(launcher.rank) == nullptr || variable(launcher.size) == nullptr) continue;
    environment.size = require_number(variable, launcher.size, 1, kMaxRanks);
    environment.rank = require_number(variable, launcher.rank, 0, environment.size - 1);
    if (environment.size == 1) return environment;
    const std::optional<int> local_size = number_of(variable(launcher.local_size));
    environment.is_one_machine = local_size == environment.size;
    if (variable(launcher.local_rank) != nullptr)
      environment.local_rank = require_number(variable, launcher.local_rank, 0, environment.size - 1);
    else
      environment.local_rank = environment.is_one_machine ? environment.rank : -1;
    environment.address = meeting_address(variable, environment, launcher.name);
    environment.port = variable("MASTER_PORT") == nullptr
                           ? kDefaultPort
                           : require_number(variable, "MASTER_PORT", 1, kMaxPort);
    if (environment.rank == 0 && variable(kListeningSocketVariable) != nullptr)
      environment.listening_socket = require_number(variable, kListeningSocketVariable, 0, kMaxSocket);
    // The agent of torchrun listens at this port before rank 0 could; its store is emptied at no restart.
    const char* is_kept = variable("TORCHELASTIC_USE_AGENT_STORE");
    if (is_kept != nullptr && std::string_view(is_kept) == "True") {
      const char* restart = variable("TORCHELASTIC_RESTART_COUNT");
      environment.store_prefix = std::string("/worker/attempt_") + (restart == nullptr ? "0" : restart);
    }
    if (const char* interface = variable("GLOO_SOCKET_IFNAME"); interface != nullptr)
      environment.interface = interface;
    return environment;
  }
  return environment;
}

RankEnvironment rank_environment() {
  return rank_environment([](const char* name) -> const char* { return std::getenv(name); });
}

}  // namespace gca::parallel
