#include "lib/parallel/rank_environment.h"

#include "tests/support/doctest.h"

#include <map>

#include "tests/support/error_of.h"

using namespace gca;

namespace {

template <class Call>
std::string error_message(const Call& call) {
  const auto error = error_of(call);
  return error ? error->message : "";
}

using Variables = std::map<std::string, std::string>;

parallel::RankEnvironment environment_of(const Variables& variables) {
  return parallel::rank_environment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

const Variables kTorchrun = {{"RANK", "5"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "4"},
                             {"MASTER_ADDR", "node1"},
                             {"MASTER_PORT", "1234"}};

Variables with(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  return variables;
}

}  // namespace

TEST_CASE("Without a launcher a process is alone, and within a batch script that started nothing") {
  CHECK(environment_of({}).size == 1);
  CHECK(environment_of({{"RANK", "1"}}).size == 1);  // no complete set
  CHECK(environment_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).size == 1);
  CHECK(environment_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).size == 1);
}

TEST_CASE("torchrun, mpirun and srun say who a process is") {
  const parallel::RankEnvironment torchrun = environment_of(kTorchrun);
  CHECK(torchrun.rank == 5);
  CHECK(torchrun.size == 8);
  CHECK(torchrun.address == "node1");
  CHECK(torchrun.port == 1234);
  CHECK_FALSE(torchrun.is_one_machine);
  CHECK(torchrun.local_rank == 1);

  CHECK(torchrun.store_prefix.empty());
  const Variables with_agent = with(kTorchrun, "TORCHELASTIC_USE_AGENT_STORE", "True");
  CHECK(environment_of(with(with_agent, "TORCHELASTIC_RESTART_COUNT", "2")).store_prefix ==
        "/worker/attempt_2");

  const parallel::RankEnvironment mpirun = environment_of(
      {{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}});
  CHECK(mpirun.rank == 3);
  CHECK(mpirun.size == 4);
  CHECK(mpirun.is_one_machine);
  CHECK(mpirun.local_rank == 3);  // all are here
  CHECK(mpirun.address == "127.0.0.1");
  CHECK(mpirun.port == 29500);

  const Variables srun = {{"SLURM_PROCID", "2"},
                          {"SLURM_STEP_NUM_TASKS", "4"},
                          {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"},
                          {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7"}};
  CHECK(environment_of(srun).rank == 2);
  CHECK(environment_of(srun).address == "10.0.0.7");
  CHECK_FALSE(environment_of(srun).is_one_machine);
  CHECK(environment_of(srun).local_rank == -1);
  CHECK(environment_of(with(srun, "SLURM_LOCALID", "1")).local_rank == 1);
  CHECK(environment_of(with(srun, "MASTER_ADDR", "node3")).address == "node3");
  CHECK(environment_of(with(srun, "GLOO_SOCKET_IFNAME", "ib0")).interface == "ib0");
}

TEST_CASE("The socket that gca launch has reserved is for rank 0 alone") {
  const Variables sixth = with(kTorchrun, "GCA_LISTENING_SOCKET", "7");
  CHECK(environment_of(sixth).listening_socket == -1);
  CHECK(environment_of(with(sixth, "RANK", "0")).listening_socket == 7);
  CHECK(environment_of(with(kTorchrun, "RANK", "0")).listening_socket == -1);
}

TEST_CASE("What a launcher leaves out or garbles is named") {
  Variables variables = {
      {"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  CHECK(error_message([&] {
          environment_of(variables);
        }).starts_with("MASTER_ADDR: mpirun started ranks on several"));
  CHECK(error_message([&] { environment_of(with(kTorchrun, "RANK", "8")); }).starts_with("RANK=8: "));
  CHECK(error_message([&] {
          environment_of(with(kTorchrun, "LOCAL_RANK", "-1"));
        }).starts_with("LOCAL_RANK=-1: "));
  CHECK(error_message([&] { environment_of(with(kTorchrun, "RANK", "")); }).starts_with("RANK=: "));
  CHECK(error_message([&] {
          environment_of(with(kTorchrun, "WORLD_SIZE", "two"));
        }).starts_with("WORLD_SIZE=two: "));
  CHECK(error_message([&] {
          environment_of(with(kTorchrun, "MASTER_PORT", "99999"));
        }).starts_with("MASTER_PORT=99999: "));
}
