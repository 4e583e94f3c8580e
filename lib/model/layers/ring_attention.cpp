#include "lib/model/layers/ring_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/custom_function.h>

#include <string>
#include <utility>
#include <vector>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/model/layers/attention_block.h"
#include "lib/parallel/differentiable.h"

namespace gca::model {
namespace {

using parallel::Communicator;
using parallel::RingScheme;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const std::string kBlocks = "keys and values";
const std::string kGradients = "gradients of keys and values";

/// What a rank's queries see of the block of another: rows of the one, and of the other. Every query sees every key.
struct Seen {
  int64_t first_query = 0, queries = 0;
  int64_t keys = 0;  ///< from the first on; 0: nothing is seen
};

/// n positions a rank; the own block is not asked for.
Seen seen_of(RingScheme scheme, int own, int block, int64_t n) {
  if (scheme == RingScheme::ring) return block < own ? Seen{0, n, n} : Seen{};
  const int64_t slice = n / 2;
  // A rank nearer to the front: its first slice is before both of one's own, its second behind both. One behind: both of
  // its slices are between one's own.
  return block < own ? Seen{0, n, slice} : Seen{slice, slice, n};
}

/// Sends to the right and receives from the left.
class RingExchange {
 public:
  explicit RingExchange(Communicator& ranks) : ranks_(ranks) {}

  /// What comes is in received() after wait(); `sent` must stay as it is until then.
  void start(const at::Tensor& sent, const std::string& what) {
    sent_ = sent;
    received_ = ranks_.size() == 1 ? sent : at::empty_like(sent);
    const auto size = static_cast<size_t>(ranks_.size());
    const auto own = static_cast<size_t>(ranks_.rank());
    std::vector<at::Tensor> to_rank(size);
    std::vector<at::Tensor> from_rank(size);
    to_rank[(own + 1) % size] = sent_;
    from_rank[(own + size - 1) % size] = received_;
    exchange_ = ranks_.start_exchange(to_rank, from_rank, what);
  }
  at::Tensor wait() {
    exchange_.wait();
    sent_ = at::Tensor();
    return std::exchange(received_, at::Tensor());
  }

 private:
  Communicator& ranks_;
  at::Tensor sent_, received_;
  parallel::Exchange exchange_;
};

int block_at(const Communicator& ranks, int step) {
  return (ranks.rank() - step + ranks.size()) % ranks.size();
}

/// zigzag and ring: in step s a rank has the block of the rank s to its left, and passes it on meanwhile.
class RingAttention : public torch::autograd::Function<RingAttention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, double scale, int64_t scheme, int64_t handle) {
    Communicator& ranks = parallel::communicator_of(handle);
    at::Tensor block = at::stack({k, v});  // (2, B, n, H_kv, dh)
    AttentionBlock all;
    RingExchange exchange(ranks);
    for (int step = 0; step < ranks.size(); ++step) {
      const bool goes_on = step + 1 < ranks.size();
      if (goes_on) exchange.start(block, kBlocks);
      if (step == 0)
        all = attend_block(q, block[0], block[1], scale, /*causal=*/true);
      else
        add(all, q, block, scale, static_cast<RingScheme>(scheme), ranks, block_at(ranks, step));
      if (goes_on) block = exchange.wait();
    }
    const at::Tensor out = all.attention();
    context->save_for_backward({q, k, v, out, all.statistics.largest, all.statistics.sum});
    context->saved_data["scale"] = scale;
    context->saved_data["scheme"] = scheme;
    context->saved_data["ranks"] = handle;
    return out.to(q.scalar_type());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const AttentionStatistics statistics{saved[4], saved[5]};
    const double scale = context->saved_data["scale"].toDouble();
    const auto scheme = static_cast<RingScheme>(context->saved_data["scheme"].toInt());
    Communicator& ranks = parallel::communicator_of(context->saved_data["ranks"].toInt());
    const at::Tensor dout = gradients[0].to(out.scalar_type()).contiguous();
    const at::Tensor delta = dout.mul(out).sum(-1);

    at::Tensor dq;
    at::Tensor block = at::stack({k, v});
    at::Tensor dblock;
    RingExchange of_blocks(ranks);
    RingExchange of_gradients(ranks);
    for (int step = 0; step < ranks.size(); ++step) {
      const bool goes_on = step + 1 < ranks.size();
      if (goes_on) of_blocks.start(block, kBlocks);
      if (step == 0) {
        BlockGradients own = block_gradients(dout, q, block[0], block[1], statistics, delta, scale,
                                             /*causal=*/true);
        dq = std::move(own.dq);
        dblock = at::stack({own.dk, own.dv});
      } else {
        const Seen seen = seen_of(scheme, ranks.rank(), block_at(ranks, step), q.size(1));
        BlockGradients part;
        if (seen.keys > 0) {
          const auto queries = [&](const at::Tensor& x) {
            return x.narrow(1, seen.first_query, seen.queries);
          };
          part = block_gradients(queries(dout), queries(q), block[0].narrow(1, 0, seen.keys),
                                 block[1].narrow(1, 0, seen.keys),
                                 {queries(statistics.largest), queries(statistics.sum)}, queries(delta),
                                 scale, /*causal=*/false);
          queries(dq).add_(part.dq);
        }
        dblock = of_gradients.wait();  // with what the ranks that had the block before have added
        if (seen.keys > 0) {
          dblock[0].narrow(1, 0, seen.keys).add_(part.dk);
          dblock[1].narrow(1, 0, seen.keys).add_(part.dv);
        }
      }
      of_gradients.start(dblock, kGradients);
      if (goes_on) block = of_blocks.wait();
    }
    dblock = of_gradients.wait();  // that of the own block is back
    return {dq.to(q.scalar_type()), dblock[0].to(k.scalar_type()), dblock[1].to(v.scalar_type()), {}, {}, {}};
  }

 private:
  static void add(AttentionBlock& all, const at::Tensor& q, const at::Tensor& block, double scale,
                  RingScheme scheme, const Communicator& ranks, int number) {
    const Seen seen = seen_of(scheme, ranks.rank(), number, q.size(1));
    if (seen.keys == 0) return;
    const auto queries = [&](const at::Tensor& x) { return x.narrow(1, seen.first_query, seen.queries); };
    AttentionBlock part{queries(all.sum_of_values),
                        {queries(all.statistics.largest), queries(all.statistics.sum)}};  // views
    merge_block(part, attend_block(queries(q), block[0].narrow(1, 0, seen.keys),
                                   block[1].narrow(1, 0, seen.keys), scale, /*causal=*/false));
  }
};

/// All keys and values to all ranks at once; then the attention of one process, slice by slice.
at::Tensor gathered_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& slopes, double scale, Communicator& ranks) {
  const int64_t slice = q.size(1) / 2;
  const int64_t dh = k.size(3);
  const at::Tensor gathered = parallel::gather_rows(at::cat({k, v}, -1), ranks);
  std::vector<at::Tensor> slices(static_cast<size_t>(2 * ranks.size()));
  for (int rank = 0; rank < ranks.size(); ++rank) {
    const auto front = static_cast<size_t>(rank);
    slices[front] = gathered.narrow(1, 2 * rank * slice, slice);
    slices[slices.size() - 1 - front] = gathered.narrow(1, (2 * rank + 1) * slice, slice);
  }
  const at::Tensor all = at::cat(slices, 1);
  const at::Tensor keys = all.narrow(-1, 0, dh).contiguous();
  const at::Tensor values = all.narrow(-1, dh, dh).contiguous();
  std::vector<at::Tensor> outs;
  const auto own = parallel::positions_of(RingScheme::gather, all.size(1), ranks.rank(), ranks.size());
  for (size_t i = 0; i < own.size(); ++i) {
    const int64_t end = own[i].first + own[i].count;
    outs.push_back(kernels::sliding_window_attention(
        q.narrow(1, static_cast<int64_t>(i) * slice, slice).contiguous(), keys.narrow(1, 0, end).contiguous(),
        values.narrow(1, 0, end).contiguous(), slopes, /*window=*/end, scale));
  }
  return at::cat(outs, 1);
}

}  // namespace

at::Tensor ring_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& slopes, double scale, RingScheme scheme, Communicator& ranks) {
  if (scheme == RingScheme::gather) return gathered_attention(q, k, v, slopes, scale, ranks);
  return RingAttention::apply(q.contiguous(), k.contiguous(), v.contiguous(), scale,
                              static_cast<int64_t>(scheme), parallel::handle_of(ranks));
}

}  // namespace gca::model
