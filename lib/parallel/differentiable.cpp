#include "lib/parallel/differentiable.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <string>
#include <vector>

namespace gca::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const std::string kLeftRows = "rows of the window";
const std::string kRows = "chunks";
const std::string kLastRow = "the last choice";

Communicator& communicator_of(AutogradContext& context) {
  return parallel::communicator_of(context.saved_data["communicator"].toInt());
}

std::vector<at::Tensor> for_each_rank(const Communicator& communicator) {
  return std::vector<at::Tensor>(static_cast<size_t>(communicator.size()));
}

/// Rows that the rank `distance` to the right wants of one that has `rows`.
int64_t wanted_rows(int64_t rows, int64_t window, int64_t distance) {
  return std::min(rows, std::max<int64_t>(0, window - (distance - 1) * rows));
}

class LeftRows : public torch::autograd::Function<LeftRows> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, int64_t window, int64_t handle) {
    context->saved_data["communicator"] = handle;
    context->saved_data["window"] = window;
    context->saved_data["rows"] = x.size(1);
    Communicator& communicator = communicator_of(*context);
    const int64_t n = x.size(1);
    const int own = communicator.rank();
    std::vector<at::Tensor> to_rank = for_each_rank(communicator);
    std::vector<at::Tensor> from_rank = for_each_rank(communicator);
    for (int r = 0; r < communicator.size(); ++r) {
      const int64_t rows = wanted_rows(n, window, r > own ? r - own : own - r);
      if (r > own) to_rank[static_cast<size_t>(r)] = x.narrow(1, n - rows, rows).contiguous();
      if (r < own) from_rank[static_cast<size_t>(r)] = at::empty_like(x.narrow(1, 0, rows)).contiguous();
    }
    communicator.start_exchange(to_rank, from_rank, kLeftRows).wait();
    std::vector<at::Tensor> parts = {x.narrow(1, 0, 0)};
    for (int r = 0; r < own; ++r) parts.push_back(from_rank[static_cast<size_t>(r)]);
    return at::cat(parts, 1);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    Communicator& communicator = communicator_of(*context);
    const int64_t window = context->saved_data["window"].toInt();
    const int64_t n = context->saved_data["rows"].toInt();
    const at::Tensor& gradient = gradients[0];
    const int own = communicator.rank();
    const auto shape_of = [&](int64_t rows) {
      std::vector<int64_t> shape = gradient.sizes().vec();
      shape[1] = rows;
      return shape;
    };
    std::vector<at::Tensor> to_rank = for_each_rank(communicator);
    std::vector<at::Tensor> from_rank = for_each_rank(communicator);
    int64_t first = 0;
    for (int r = 0; r < communicator.size(); ++r) {
      const int64_t rows = wanted_rows(n, window, r > own ? r - own : own - r);
      if (r > own) from_rank[static_cast<size_t>(r)] = at::empty(shape_of(rows), gradient.options());
      if (r >= own) continue;
      to_rank[static_cast<size_t>(r)] = gradient.narrow(1, first, rows).contiguous();
      first += rows;
    }
    communicator.start_exchange(to_rank, from_rank, kLeftRows).wait();
    const at::Tensor sum = at::zeros(shape_of(n), gradient.options().dtype(type_of_sum(gradient)));
    for (int r = own + 1; r < communicator.size(); ++r) {
      const at::Tensor& part = from_rank[static_cast<size_t>(r)];
      sum.narrow(1, n - part.size(1), part.size(1)).add_(part);
    }
    return {sum.to(gradient.scalar_type()), {}, {}};
  }
};

class GatherRows : public torch::autograd::Function<GatherRows> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, int64_t handle) {
    context->saved_data["communicator"] = handle;
    // (N, B, c, ..) -> (B, N c, ..)
    return communicator_of(*context).all_gather(x, kRows).transpose(0, 1).flatten(1, 2);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    Communicator& communicator = communicator_of(*context);
    const at::Tensor& gradient = gradients[0];
    const std::vector<at::Tensor> of_ranks = gradient.to(type_of_sum(gradient)).chunk(communicator.size(), 1);
    return {sum_in_order(communicator.all_to_all(of_ranks, kRows)).to(gradient.scalar_type()), {}};
  }
};

/// `x` to the rank `distance` to the right (left where it is negative); what comes from the other side, or all `none`.
at::Tensor pass_on(const at::Tensor& x, int distance, double none, Communicator& communicator) {
  std::vector<at::Tensor> to_rank = for_each_rank(communicator);
  std::vector<at::Tensor> from_rank = for_each_rank(communicator);
  const auto is_rank = [&](int rank) { return rank >= 0 && rank < communicator.size(); };
  const int to = communicator.rank() + distance;
  const int from = communicator.rank() - distance;
  const at::Tensor received = at::full_like(x, none, {}, at::MemoryFormat::Contiguous);
  if (is_rank(to)) to_rank[static_cast<size_t>(to)] = x.contiguous();
  if (is_rank(from)) from_rank[static_cast<size_t>(from)] = received;
  communicator.start_exchange(to_rank, from_rank, kLastRow).wait();
  return received;
}

class ShiftRight : public torch::autograd::Function<ShiftRight> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, double first, int64_t handle) {
    context->saved_data["communicator"] = handle;
    return pass_on(x, 1, first, communicator_of(*context));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {pass_on(gradients[0], -1, 0.0, communicator_of(*context)), {}, {}};
  }
};

}  // namespace

int64_t handle_of(Communicator& communicator) {
  return reinterpret_cast<int64_t>(&communicator);
}

Communicator& communicator_of(int64_t handle) {
  return *reinterpret_cast<Communicator*>(handle);
}

at::Tensor left_rows(const at::Tensor& x, int64_t window, Communicator& communicator) {
  return LeftRows::apply(x, window, handle_of(communicator));
}

at::Tensor gather_rows(const at::Tensor& x, Communicator& communicator) {
  return GatherRows::apply(x, handle_of(communicator));
}

at::Tensor shift_right(const at::Tensor& x, double first, Communicator& communicator) {
  if (!at::isFloatingType(x.scalar_type())) return pass_on(x, 1, first, communicator);
  return ShiftRight::apply(x, first, handle_of(communicator));
}

}  // namespace gca::parallel
