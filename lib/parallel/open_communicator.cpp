#include "lib/parallel/open_communicator.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "lib/core/error.h"

namespace gca::parallel {
namespace {

using c10d::ProcessGroupGloo;

constexpr const char* kThisMachine = "127.0.0.1";

/// The own address on the way to `host`, as the kernel routes it; empty where it does not. Nothing is sent.
std::string address_towards(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return "";
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
  const int handle = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (handle < 0) return "";
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  std::array<char, NI_MAXHOST> text{};
  const bool is_known = connect(handle, found->ai_addr, found->ai_addrlen) == 0 &&
                        getsockname(handle, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
                        getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text.data(), text.size(),
                                    nullptr, 0, NI_NUMERICHOST) == 0;
  close(handle);
  return is_known ? text.data() : "";
}

std::shared_ptr<gloo::transport::Device> device_of(const RankEnvironment& environment) {
  if (!environment.interface.empty())
    return ProcessGroupGloo::createDeviceForInterface(environment.interface);
  if (environment.is_one_machine) return ProcessGroupGloo::createDeviceForHostname(kThisMachine);
  const std::string own = address_towards(environment.address, environment.port);
  return own.empty() ? ProcessGroupGloo::createDefaultDevice()
                     : ProcessGroupGloo::createDeviceForHostname(own);
}

std::unique_ptr<Communicator> connect_all(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                          std::shared_ptr<gloo::transport::Device> device,
                                          const CommunicatorTimeouts& timeouts) {
  const auto options = ProcessGroupGloo::Options::create(timeouts.message);
  options->devices.push_back(std::move(device));
  return std::make_unique<Communicator>(c10::make_intrusive<ProcessGroupGloo>(store, rank, size, options),
                                        store);
}

}  // namespace

std::unique_ptr<Communicator> open_communicator(const RankEnvironment& environment,
                                                const CommunicatorTimeouts& timeouts) {
  if (environment.size == 1) return nullptr;
  // The store warns at length of what is then told in one line.
  setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
  try {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(environment.port);
    const bool is_kept_by_launcher = !environment.store_prefix.empty();
    options.isServer = environment.rank == 0 && !is_kept_by_launcher;
    options.numWorkers = static_cast<size_t>(environment.size);
    options.timeout = timeouts.meeting;
    if (options.isServer && environment.listening_socket >= 0)
      options.masterListenFd = environment.listening_socket;
    c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::TCPStore>(environment.address, options);
    if (is_kept_by_launcher) store = c10::make_intrusive<c10d::PrefixStore>(environment.store_prefix, store);
    return connect_all(store, environment.rank, environment.size, device_of(environment), timeouts);
  } catch (const std::exception& error) {
    fail_run(fmt::format("rank {}", environment.rank),
             fmt::format("cannot meet the other {} ranks at {}, port {} ({})", environment.size - 1,
                         environment.address, environment.port, reason_of(error)),
             "start them all at once; MASTER_ADDR and MASTER_PORT say where they meet");
  }
}

std::unique_ptr<Communicator> open_communicator(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                                int size, const CommunicatorTimeouts& timeouts) {
  return connect_all(store, rank, size, ProcessGroupGloo::createDeviceForHostname(kThisMachine), timeouts);
}

std::unique_ptr<Communicator> open_group(const Communicator& all, int size) {
  const auto of_all =
      c10::static_intrusive_pointer_cast<ProcessGroupGloo::Options>(all.backend()->getBackendOptions());
  const auto options = ProcessGroupGloo::Options::create(of_all->timeout);
  options->devices = of_all->devices;
  const int first = all.rank() / size * size;
  const auto store =
      c10::make_intrusive<c10d::PrefixStore>(fmt::format("group_of_{}_from_{}", size, first), all.store());
  return std::make_unique<Communicator>(
      c10::make_intrusive<ProcessGroupGloo>(store, all.rank() - first, size, options), store, first,
      all.store_of_all());
}

}  // namespace gca::parallel
