// The optimizer whose state is shared out: what ranks hold, send and compute, against the optimizer of one process.

#include "lib/train/parallel/sharded_adamw.h"

#include "tests/support/doctest.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>

#include "lib/train/step/adamw_optimizer.h"
#include "tests/support/as_ranks.h"
#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kSmallBuckets = 20000;  // bytes: several buckets, and weights that reach over their borders

std::vector<model::Weight> empty_weights(const std::vector<int64_t>& sizes) {
  std::vector<model::Weight> weights(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) weights[i].master = at::zeros({sizes[i]});
  return weights;
}

/// Some gradient of weight `weight` on rank `rank`; none of the third weight.
at::Tensor gradient_of(const model::Weight& weight, size_t number, int rank) {
  if (number == 2) return {};
  const at::Tensor n = at::arange(weight.master.numel(), at::kDouble);
  return n.add(static_cast<double>(number) + 100.0 * rank)
      .sin()
      .to(weight.master.scalar_type())
      .view(weight.master.sizes());
}

}  // namespace

TEST_CASE("Every value of every weight lies in one slice, in reverse order of the weights") {
  for (const int ranks : {1, 2, 3, 4}) {
    const auto weights = empty_weights({100, 7, 1, 3000, 50});
    const train::BucketLayout layout(weights, ranks, 4 * 1000);
    CHECK(layout.buckets().size() == 4);  // 3158 values
    std::vector<std::vector<int>> seen;
    for (const model::Weight& weight : weights) seen.emplace_back(weight.master.numel());
    size_t last_weight = weights.size() - 1;
    for (size_t b = 0; b < layout.buckets().size(); ++b) {
      const train::Bucket& bucket = layout.buckets()[b];
      CHECK(bucket.slice_size % train::BucketLayout::kSliceMultiple == 0);
      int64_t next = 0;
      for (int r = 0; r < ranks; ++r)
        for (const train::WeightPiece& piece : bucket.slices[static_cast<size_t>(r)]) {
          CHECK(piece.in_bucket == next);
          next += piece.size;
          CHECK(piece.in_bucket >= r * bucket.slice_size);
          CHECK(next <= (r + 1) * bucket.slice_size);
          CHECK(piece.weight <= last_weight);
          last_weight = piece.weight;
          const auto [first, last] = layout.buckets_of(piece.weight);
          CHECK(first <= b);
          CHECK(b <= last);
          for (int64_t i = 0; i < piece.size; ++i)
            ++seen[piece.weight][static_cast<size_t>(piece.in_weight + i)];
        }
    }
    for (const auto& counts : seen)
      for (const int count : counts) CHECK(count == 1);
  }
}

TEST_CASE("Updates, norms and moments of shared state are those of one process with the summed gradient") {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble})
    for (const int ranks : {2, 3, 4}) {
      const train::TrainConfig config = tiny_train_config();
      // One process, whose gradient is the sum.
      model::LanguageModel alone = tiny_model(tiny_config(), dtype);
      train::AdamWOptimizer whole(alone.weights(), config);
      std::vector<double> norms;
      for (int64_t step = 0; step < 3; ++step) {
        for (size_t i = 0; i < alone.weights().size(); ++i) {
          at::Tensor sum = gradient_of(alone.weights()[i], i, 0);
          for (int r = 1; r < ranks && sum.defined(); ++r) sum = sum + gradient_of(alone.weights()[i], i, r);
          alone.weights()[i].master.mutable_grad() = sum;
        }
        norms.push_back(whole.gradient_norm());
        whole.update(step, 1e-2, 0.5);
      }

      std::vector<std::vector<at::Tensor>> masters(static_cast<size_t>(ranks));
      std::vector<std::vector<at::Tensor>> copies(static_cast<size_t>(ranks));
      std::vector<std::vector<double>> rank_norms(static_cast<size_t>(ranks));
      std::vector<at::Tensor> first_moments;
      std::vector<int64_t> bytes(static_cast<size_t>(ranks));
      std::vector<int64_t> moment_bytes(static_cast<size_t>(ranks));
      int64_t share = 0;
      int64_t buckets = 0;
      as_ranks(ranks, [&](parallel::Communicator* communicator) {
        const auto rank = static_cast<size_t>(communicator->rank());
        model::LanguageModel model = tiny_model(tiny_config(), dtype);
        train::ShardedAdamW shared(model, config, *communicator, kSmallBuckets);
        for (int64_t step = 0; step < 3; ++step) {
          for (size_t i = 0; i < model.weights().size(); ++i)
            model.weights()[i].master.mutable_grad() =
                gradient_of(model.weights()[i], i, communicator->rank());
          const int64_t before = communicator->bytes_sent();
          rank_norms[rank].push_back(shared.gradient_norm());
          shared.update(step, 1e-2, 0.5);
          bytes[rank] = communicator->bytes_sent() - before;
        }
        masters[rank] = copies_of_masters(model);
        for (const model::Weight& weight : model.weights())
          copies[rank].push_back(weight.compute.detach().clone());
        moment_bytes[rank] = shared.moment_bytes();
        if (communicator->rank() == 0) {
          share = shared.layout().share_size();
          buckets = static_cast<int64_t>(shared.layout().buckets().size());
        }
        for (size_t i = 0; i < model.weights().size(); ++i) {
          const at::Tensor moment = shared.moment(train::Moment::first, i);
          if (moment.defined()) first_moments.push_back(moment);
        }
      });

      const double tolerance = dtype == at::kDouble ? 1e-14 : 1e-6;
      const int64_t value_bytes = dtype == at::kDouble ? 8 : 4;
      const auto weights = static_cast<int64_t>(alone.weights().size());
      for (size_t r = 0; r < masters.size(); ++r) {
        for (size_t i = 0; i < alone.weights().size(); ++i) {
          CAPTURE(alone.weights()[i].name);
          CHECK(at::equal(masters[r][i], masters[0][i]));  // to the bit, as are the copies
          CHECK(at::equal(copies[r][i], masters[r][i].to(copies[r][i].scalar_type())));
          CHECK(largest_difference(masters[r][i], alone.weights()[i].master.detach()) <= tolerance);
        }
        for (size_t step = 0; step < norms.size(); ++step) {
          CHECK(rank_norms[r][step] == rank_norms[0][step]);
          CHECK(std::abs(rank_norms[r][step] - norms[step]) <= tolerance * norms[step]);
        }
        // Slices of gradients and of weights to each other rank; the square of the norm, and which weights had a gradient.
        CHECK(bytes[r] == (ranks - 1) * (2 * share * value_bytes + (1 + weights) * 8));
        CHECK(moment_bytes[r] == 2 * share * value_bytes);
        // An even share, but for the padding of each bucket's slice.
        CHECK(moment_bytes[r] - whole.moment_bytes() / ranks <= 2 * value_bytes * 16 * buckets);
      }
      REQUIRE(first_moments.size() == alone.weights().size());  // on rank 0 alone
      for (size_t i = 0; i < first_moments.size(); ++i)
        CHECK(largest_difference(first_moments[i], whole.first_moments()[i]) <= tolerance);
    }
}

TEST_CASE("Moments that are set come back whole") {
  for (const int ranks : {2, 3}) {
    std::vector<at::Tensor> came_back;
    as_ranks(ranks, [&](parallel::Communicator* communicator) {
      model::LanguageModel model = tiny_model(tiny_config());
      train::ShardedAdamW shared(model, tiny_train_config(), *communicator, kSmallBuckets);
      for (size_t i = 0; i < model.weights().size(); ++i)
        for (const auto moment : {train::Moment::first, train::Moment::second})
          shared.set_moment(moment, i, model.weights()[i].master.detach());
      for (size_t i = 0; i < model.weights().size(); ++i)
        for (const auto moment : {train::Moment::first, train::Moment::second}) {
          const at::Tensor whole = shared.moment(moment, i);
          if (whole.defined()) came_back.push_back(whole);
        }
    });
    const model::LanguageModel model = tiny_model(tiny_config());
    REQUIRE(came_back.size() == 2 * model.weights().size());
    for (size_t i = 0; i < came_back.size(); ++i)
      CHECK(at::equal(came_back[i], model.weights()[i / 2].master));
  }
}
