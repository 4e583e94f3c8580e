#include "lib/parallel/communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "lib/parallel/failure_note.h"

namespace gca::parallel {
namespace {

/// Messages from one rank to another are paired by number: c10d's tag, a positive int.
int take_tag(int& count) {
  constexpr int kTags = 1 << 30;
  count = (count + 1) % kTags;
  return count;
}

constexpr int kSomePeer = -1;

/// A device's library looks once a millisecond whether its work is done, which messages of a few MB would wait for.
void watch_closely(c10d::Work& work) {
  constexpr auto kLongest = std::chrono::milliseconds(20);
  const auto end = std::chrono::steady_clock::now() + kLongest;
  while (!work.isCompleted() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

}  // namespace

struct Exchange::Message {
  int peer;  ///< kSomePeer: several, in one piece of work
  c10::intrusive_ptr<c10d::Work> work;
};

Exchange::Exchange() = default;
Exchange::~Exchange() = default;
Exchange::Exchange(Exchange&&) noexcept = default;
Exchange& Exchange::operator=(Exchange&&) noexcept = default;

void Exchange::wait() {
  const auto wait_for = [this](const Message& message) {
    try {
      message.work->wait();
    } catch (const std::exception& error) {
      communicator_->fail_with(message.peer, what_, reason_of(error));
    }
  };
  for (const Message& message : messages_) wait_for(message);
  messages_.clear();
  if (!on_device_) return;
  watch_closely(*on_device_->work);
  wait_for(*on_device_);
  on_device_.reset();
}

Communicator::Communicator(c10::intrusive_ptr<c10d::Backend> backend, c10::intrusive_ptr<c10d::Store> store,
                           int first_rank, c10::intrusive_ptr<c10d::Store> store_of_all)
    : backend_(std::move(backend)),
      store_(std::move(store)),
      store_of_all_(std::move(store_of_all)),
      first_rank_(first_rank),
      rank_(backend_->getRank()),
      size_(backend_->getSize()),
      sent_to_(static_cast<size_t>(size_)),
      received_from_(static_cast<size_t>(size_)) {}

Communicator::~Communicator() {
  // Its own end would wait for ranks that may be lost. Those that are not have agreed on the end over the CPU.
  if (device_backend_) device_backend_->abort();
}

void Communicator::set_device_backend(c10::intrusive_ptr<c10d::Backend> backend) {
  TORCH_CHECK(backend->getRank() == rank_ && backend->getSize() == size_, "a backend of other ranks");
  device_backend_ = std::move(backend);
}

void Communicator::begin_stage(std::string stage, std::string remedy) {
  stage_ = std::move(stage);
  remedy_ = std::move(remedy);
}

void Communicator::fail_with(int peer, const std::string& what, const std::string& reason) const {
  throw_failure_note(*this);
  const std::string who = peer == kSomePeer ? "another rank" : fmt::format("rank {}", first_rank_ + peer);
  try {
    fail_run(fmt::format("rank {}{}", first_rank_ + rank_, stage_.empty() ? "" : ": " + stage_),
             fmt::format("{} was lost while exchanging {} ({})", who, what, reason), remedy_);
  } catch (const Error& error) {
    throw LostRank(error);
  }
}

Exchange Communicator::start_exchange(std::span<const at::Tensor> to_rank,
                                      std::span<const at::Tensor> from_rank, const std::string& what) {
  Exchange exchange;
  exchange.communicator_ = this;
  exchange.what_ = what;
  std::vector<DeviceMessage> between_devices;
  const auto start = [&](int peer, const at::Tensor& x, bool sends) {
    if (!x.defined() || x.numel() == 0) return;
    // A device waits for its peer without end and without a word. So a byte goes before, by which a rank that is lost or
    // silent is found and named as it is on the CPU.
    if (!x.device().is_cpu()) between_devices.push_back({peer, x, sends});
    std::vector<at::Tensor> message = {x.device().is_cpu() ? x : at::zeros({1}, at::kByte)};
    const int tag = take_tag((sends ? sent_to_ : received_from_)[static_cast<size_t>(peer)]);
    try {
      exchange.messages_.push_back(
          {peer, sends ? backend_->send(message, peer, tag) : backend_->recv(message, peer, tag)});
    } catch (const std::exception& error) {
      fail_with(peer, what, reason_of(error));
    }
    if (sends) bytes_sent_ += static_cast<int64_t>(x.nbytes());
  };
  // Each rank begins with its right neighbour, so that they do not all send to rank 0 first.
  for (int distance = 1; distance < size_; ++distance) {
    const int left = (rank_ + size_ - distance) % size_;
    const int right = (rank_ + distance) % size_;
    start(left, from_rank[static_cast<size_t>(left)], false);
    start(right, to_rank[static_cast<size_t>(right)], true);
  }
  if (!between_devices.empty()) start_on_device(exchange, between_devices);
  return exchange;
}

void Communicator::start_on_device(Exchange& exchange, std::span<const DeviceMessage> messages) const {
  TORCH_CHECK(device_backend_, "tensors on ", messages.front().values.device(),
              ", and nothing that carries them");
  const bool is_one_peer = std::all_of(messages.begin(), messages.end(),
                                       [&](const auto& one) { return one.peer == messages.front().peer; });
  const int peer = is_one_peer ? messages.front().peer : kSomePeer;
  try {
    // One by one, messages would wait for each other in circles.
    device_backend_->startCoalescing();
    for (const DeviceMessage& message : messages) {
      std::vector<at::Tensor> values = {message.values};
      if (message.is_sent)
        device_backend_->send(values, message.peer, 0);
      else
        device_backend_->recv(values, message.peer, 0);
    }
    exchange.on_device_ =
        std::make_unique<Exchange::Message>(Exchange::Message{peer, device_backend_->endCoalescing()});
  } catch (const std::exception& error) {
    fail_with(peer, exchange.what_, reason_of(error));
  }
}

at::Tensor Communicator::all_gather(const at::Tensor& x, const std::string& what) {
  const at::Tensor own = x.contiguous();
  std::vector<int64_t> shape = {size_};
  shape.insert(shape.end(), own.sizes().begin(), own.sizes().end());
  at::Tensor all = at::empty(shape, own.options());
  all[rank_].copy_(own);
  const std::vector<at::Tensor> parts = all.unbind(0);
  const std::vector<at::Tensor> to_rank(parts.size(), own);
  start_exchange(to_rank, parts, what).wait();
  return all;
}

std::vector<at::Tensor> Communicator::all_to_all(std::span<const at::Tensor> to_rank,
                                                 const std::string& what) {
  std::vector<at::Tensor> contiguous;
  for (const at::Tensor& x : to_rank) contiguous.push_back(x.contiguous());
  const at::Tensor& own = contiguous[static_cast<size_t>(rank_)];
  std::vector<at::Tensor> from_rank;
  for (int r = 0; r < size_; ++r)
    from_rank.push_back(r == rank_ ? own : at::empty(own.sizes(), own.options()));
  start_exchange(contiguous, from_rank, what).wait();
  return from_rank;
}

void Communicator::send(const at::Tensor& x, int to, const std::string& what) {
  std::vector<at::Tensor> to_rank(static_cast<size_t>(size_));
  to_rank[static_cast<size_t>(to)] = x.contiguous();
  start_exchange(to_rank, std::vector<at::Tensor>(to_rank.size()), what).wait();
}

void Communicator::receive(const at::Tensor& x, int from, const std::string& what) {
  std::vector<at::Tensor> from_rank(static_cast<size_t>(size_));
  from_rank[static_cast<size_t>(from)] = x;
  start_exchange(std::vector<at::Tensor>(from_rank.size()), from_rank, what).wait();
}

std::string reason_of(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  std::string text = torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
  text = text.substr(0, text.find('\n'));
  if (text.starts_with('[')) {
    const size_t end = text.find("] ");
    if (end != std::string::npos) text = text.substr(end + 2);
  }
  return text;
}

at::ScalarType type_of_sum(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor sum_in_order(std::span<const at::Tensor> parts) {
  at::Tensor sum = parts[0].to(type_of_sum(parts[0]), /*non_blocking=*/false, /*copy=*/true);
  for (size_t r = 1; r < parts.size(); ++r) sum.add_(parts[r]);
  return sum;
}

at::Tensor Communicator::ordered_reduce_scatter(const at::Tensor& x, const std::string& what) {
  TORCH_CHECK(x.size(0) % size_ == 0, "ordered_reduce_scatter: ", x.size(0), " rows for ", size_, " ranks");
  return sum_in_order(all_to_all(x.chunk(size_, 0), what));
}

at::Tensor Communicator::ordered_all_reduce(const at::Tensor& x, const std::string& what) {
  const int64_t slice = (x.numel() + size_ - 1) / size_;
  at::Tensor padded = at::zeros({slice * size_}, x.options());
  padded.narrow(0, 0, x.numel()).copy_(x.reshape({-1}));
  const at::Tensor sum = all_gather(ordered_reduce_scatter(padded, what), what);
  return sum.view({-1}).narrow(0, 0, x.numel()).reshape(x.sizes());
}

std::vector<double> Communicator::all_gather_values(std::span<const double> values, const std::string& what) {
  at::Tensor own = at::empty({static_cast<int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), own.mutable_data_ptr<double>());
  const at::Tensor all = all_gather(own, what);
  const auto* data = all.const_data_ptr<double>();
  return {data, data + all.numel()};
}

std::vector<std::string> Communicator::all_gather_text(const std::string& text, const std::string& what) {
  const std::array<double, 1> size = {static_cast<double>(text.size())};
  const std::vector<double> sizes = all_gather_values(size, what);
  const auto longest = static_cast<int64_t>(*std::max_element(sizes.begin(), sizes.end()));
  at::Tensor own = at::zeros({longest}, at::kByte);
  if (!text.empty()) std::memcpy(own.mutable_data_ptr(), text.data(), text.size());
  const at::Tensor all = all_gather(own, what);
  const auto* bytes = static_cast<const char*>(all.const_data_ptr());
  std::vector<std::string> texts;
  for (size_t r = 0; r < sizes.size(); ++r)
    texts.emplace_back(bytes + r * static_cast<size_t>(longest), static_cast<size_t>(sizes[r]));
  return texts;
}

bool Communicator::any(bool here, const std::string& what) {
  const std::array<double, 1> value = {here ? 1.0 : 0.0};
  const std::vector<double> all = all_gather_values(value, what);
  return std::any_of(all.begin(), all.end(), [](double one) { return one != 0; });
}

}  // namespace gca::parallel
