#pragma once
// Messages between the ranks of one run: equal processes (threads in tests), numbered from 0. The library underneath, c10d,
// only copies. Every sum over ranks is made here, in the order of the ranks, so its bits depend on the number of ranks and on
// nothing else.
//
// Tensors on the CPU travel over Gloo, those on a device over a library of its own (open_communicator.h).
//
// All ranks call the same methods in the same order, but for send() and receive(), which only the two concerned call. `what` says in an error what was exchanged: "gradients". A peer that is
// lost or silent is LostRank naming this rank, the stage and the peer, or FailedElsewhere where the peer tells itself what
// happened (failure_note.h).

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/core/error.h"

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace gca::parallel {

class Communicator;

/// Error(failed): a peer is lost or silent, and nobody knows why.
struct LostRank : Error {
  explicit LostRank(const Error& error) : Error(error) {}
};

/// Messages under way. Must be waited for before its communicator ends.
class Exchange {
 public:
  Exchange();
  ~Exchange();
  Exchange(Exchange&&) noexcept;
  Exchange& operator=(Exchange&&) noexcept;

  /// Returns when everything is sent and received.
  void wait();

 private:
  friend class Communicator;
  struct Message;
  const Communicator* communicator_ = nullptr;
  std::string what_;
  std::vector<Message> messages_;
  std::unique_ptr<Message> on_device_;  ///< all messages between devices; null for none
};

class Communicator {
 public:
  /// `store` is where the ranks met. In a group of ranks, `first_rank` is the number by which errors call rank 0, and
  /// `store_of_all` where all ranks of the run met.
  Communicator(c10::intrusive_ptr<c10d::Backend> backend, c10::intrusive_ptr<c10d::Store> store,
               int first_rank = 0, c10::intrusive_ptr<c10d::Store> store_of_all = {});
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const c10::intrusive_ptr<c10d::Backend>& backend() const { return backend_; }
  const c10::intrusive_ptr<c10d::Store>& store() const { return store_; }
  const c10::intrusive_ptr<c10d::Store>& store_of_all() const {
    return store_of_all_ ? store_of_all_ : store_;
  }
  /// Payload of the messages to other ranks so far.
  int64_t bytes_sent() const { return bytes_sent_; }

  /// From now on tensors that are not on the CPU travel over `backend`, whose ranks are the same. It must carry out what
  /// lies between startCoalescing() and endCoalescing() as one piece of work. All ranks do it alike.
  void set_device_backend(c10::intrusive_ptr<c10d::Backend> backend);
  const c10::intrusive_ptr<c10d::Backend>& device_backend() const { return device_backend_; }

  /// Where the run stands and what can be done when it fails there, for errors: "step 118", "resume from ...".
  void begin_stage(std::string stage, std::string remedy);

  /// Starts to send to_rank[r] to each rank r and to receive into from_rank[r] what it sends here. Each list has an
  /// entry per rank, contiguous, undefined for no message, all on the CPU or all on one device; the own one is ignored.
  /// Both ends must agree on types and sizes. What is sent must not change before wait().
  Exchange start_exchange(std::span<const at::Tensor> to_rank, std::span<const at::Tensor> from_rank,
                          const std::string& what);

  /// (..) on each rank, of one shape -> (N, ..).
  at::Tensor all_gather(const at::Tensor& x, const std::string& what);
  /// One tensor per rank, the one for rank r in place r -> what each rank sent here, of the shape of the own.
  std::vector<at::Tensor> all_to_all(std::span<const at::Tensor> to_rank, const std::string& what);
  void send(const at::Tensor& x, int to, const std::string& what);
  /// Fills `x`.
  void receive(const at::Tensor& x, int from, const std::string& what);

  /// (N n, ..) -> (n, ..): slice number rank() of the sum over ranks. float32; bf16 is summed in float32, float64 in its
  /// own type.
  at::Tensor ordered_reduce_scatter(const at::Tensor& x, const std::string& what);
  /// The sum over ranks, in the type of ordered_reduce_scatter(). A rank sends (N-1)/N of x, padded to a multiple of N, and
  /// the same again in the type of the sum.
  at::Tensor ordered_all_reduce(const at::Tensor& x, const std::string& what);

  /// values of every rank, rank after rank; each rank gives as many.
  std::vector<double> all_gather_values(std::span<const double> values, const std::string& what);
  /// The texts of all ranks.
  std::vector<std::string> all_gather_text(const std::string& text, const std::string& what);
  /// Is it so on any rank?
  bool any(bool here, const std::string& what);

 private:
  friend class Exchange;
  struct DeviceMessage {
    int peer;
    at::Tensor values;
    bool is_sent;
  };
  [[noreturn]] void fail_with(int peer, const std::string& what, const std::string& reason) const;
  void start_on_device(Exchange& exchange, std::span<const DeviceMessage> messages) const;

  c10::intrusive_ptr<c10d::Backend> backend_;
  c10::intrusive_ptr<c10d::Backend> device_backend_;  // null: none
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::Store> store_of_all_;  // null: the same
  int first_rank_;
  int rank_;
  int size_;
  std::vector<int> sent_to_;  // messages, by peer
  std::vector<int> received_from_;
  int64_t bytes_sent_ = 0;
  std::string stage_;
  std::string remedy_ = "start all ranks again";
};

/// c10d's words for what went wrong, in one line: without source places, stack traces and addresses of objects.
std::string reason_of(const std::exception& error);

/// The type of sums over ranks: float32, double for double.
at::ScalarType type_of_sum(const at::Tensor& x);

/// The sum of `parts`, one per rank, added from first to last.
at::Tensor sum_in_order(std::span<const at::Tensor> parts);

}  // namespace gca::parallel
