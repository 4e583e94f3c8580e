#include "lib/model/backbones/landmark/landmark_reading.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "kernels/grouped_cross_attention/grouped_cross_attention.h"
#include "kernels/landmark_attention/landmark_attention.h"
#include "kernels/top_k/top_k.h"
#include "lib/model/backbones/landmark/rotation.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/layers/wide_type.h"

namespace gca::model {
namespace {

using Settings = LandmarkReadingSettings;

at::Tensor turned(const at::Tensor& x, const at::Tensor& positions, const Settings& settings) {
  return settings.theta > 0 ? rotated(x, positions, settings.theta) : x;
}

/// Positions of one local segment and what comes before it.
class SegmentReading {
 public:
  /// q: positions first .. first + m of the segment; keys and values up to the last of them; `start` the
  /// position of the segment's first.
  SegmentReading(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values, int64_t start,
                 const Settings& settings, const KeyIndex& index)
      : settings_(settings),
        index_(index),
        q_(q),
        keys_(keys),
        values_(values),
        start_(start),
        wide_(wide_type(q)),
        cached_(start / settings.block_size),
        chosen_count_(std::min(settings.top_k, cached_)),
        older_(std::max<int64_t>(0, cached_ - settings.top_k)),
        places_(at::arange(keys.size(1) - start - q.size(1), keys.size(1) - start, at::kLong)) {}

  LandmarkReading read() const {
    const auto [local, local_lse] = read_local();
    const std::vector<int64_t> slots = {q_.size(0), q_.size(1), q_.size(2), settings_.top_k};
    const at::Tensor blocks = at::full(slots, -1, at::TensorOptions(at::kInt));
    const at::Tensor shares = at::zeros(slots, at::TensorOptions(wide_));
    if (chosen_count_ == 0) return {local, blocks, shares};
    const at::Tensor chosen = choose();  // (B, H, m, Kc)
    blocks.narrow(3, 0, chosen_count_).copy_(chosen.transpose(1, 2));
    const at::Tensor queries = queries_at_slots(chosen);   // (B, H, m, Kc, dh)
    const at::Tensor scores = scores_of(queries, chosen);  // of their landmarks (B, H, m, Kc)
    const at::Tensor lse = at::logaddexp(local_lse, at::logsumexp(scores, -1));
    const at::Tensor weights = at::exp(scores - lse.unsqueeze(-1));
    shares.narrow(3, 0, chosen_count_).copy_(weights.transpose(1, 2));
    const at::Tensor fetched = read_blocks(queries, chosen, weights);
    const at::Tensor local_share = at::exp(local_lse - lse).transpose(1, 2).unsqueeze(-1);
    return {(local.to(wide_) * local_share + fetched).to(q_.scalar_type()), blocks, shares};
  }

 private:
  /// The segment so far: (out, lse). Positions count from its beginning, for queries and keys alike.
  std::tuple<at::Tensor, at::Tensor> read_local() const {
    const int64_t S = settings_.block_size;
    const int64_t count = keys_.size(1) - start_;
    const at::Tensor block_starts = at::arange(count, at::kLong).div_(S, "floor").mul_(S).unsqueeze(1);
    return kernels::landmark_attention_forward(
        turned(q_, places_.unsqueeze(1), settings_),
        turned(keys_.narrow(1, start_, count), block_starts, settings_), values_.narrow(1, start_, count), S,
        settings_.scale);
  }

  /// Position of the segment's first, as a multiple of slots.
  int64_t first_position() const { return std::min(cached_, settings_.top_k + 1) * settings_.block_size; }

  /// Keys of the landmarks before the segment (B, c, H, dh), each as at the end of slot 0.
  at::Tensor landmarks() const { return landmarks_of(keys_.narrow(1, 0, start_), settings_); }

  /// The chosen blocks in the order of the text, (B, H, m, Kc) int64.
  at::Tensor choose() const {
    const int64_t B = q_.size(0);
    const int64_t H = q_.size(2);
    const int64_t m = q_.size(1);
    const int64_t K = settings_.top_k;
    if (older_ == 0) return at::arange(cached_, at::kLong).expand({B, H, m, cached_});
    const at::Tensor marks = landmarks();
    const at::Tensor slots = at::arange(1, K + 1, at::kLong).mul_(settings_.block_size).unsqueeze(1);
    const at::Tensor newest = turned(marks.narrow(1, older_, K), slots, settings_);
    const at::Tensor queries = turned(q_, places_.add(first_position()).unsqueeze(1), settings_)
                                   .to(wide_)
                                   .transpose(1, 2);  // (B, H, m, dh)
    if (settings_.all_heads || m > KeyIndex::kMostQueries) {
      const at::Tensor ranked = at::cat({marks.narrow(1, 0, older_), newest}, 1).to(wide_);
      const at::Tensor scores = at::matmul(queries, ranked.permute({0, 2, 3, 1})).mul_(settings_.scale);
      if (!settings_.all_heads) return kernels::top_k(scores, K);
      return kernels::top_k(at::softmax(scores, -1).amax(1, /*keepdim=*/true), K).expand({B, H, m, K});
    }
    const auto parts = [&](int64_t b, int64_t h) {
      std::vector<kernels::LandmarkPart> all = index_.parts(marks, b, h, older_);
      all.push_back({newest.narrow(0, b, 1).select(2, h)});
      return all;
    };
    return search_keys(queries, parts, cached_, K, settings_.scale).places;
  }

  /// The queries as they see the chosen blocks, whose keys are rotated as at slot 0: (B, H, m, Kc, dh).
  at::Tensor queries_at_slots(const at::Tensor& chosen) const {
    at::Tensor slots = at::arange(chosen_count_, at::kLong);
    if (older_ > 0) slots = slots + chosen.ge(older_).to(at::kLong);
    const at::Tensor positions = places_.add(first_position()).unsqueeze(1) - slots * settings_.block_size;
    const at::Tensor queries = q_.transpose(1, 2).unsqueeze(3).expand({-1, -1, -1, chosen_count_, -1});
    return turned(queries, positions, settings_);
  }

  at::Tensor scores_of(const at::Tensor& queries, const at::Tensor& chosen) const {
    const at::Tensor marks = landmarks();
    at::Tensor scores = at::empty(chosen.sizes(), q_.options().dtype(wide_));
    for (int64_t b = 0; b < chosen.size(0); ++b)
      for (int64_t h = 0; h < chosen.size(1); ++h) {
        const at::Tensor idx = chosen.select(0, b).select(0, h);
        const at::Tensor rows = marks.select(0, b)
                                    .select(1, h)
                                    .index_select(0, idx.flatten())
                                    .to(wide_)
                                    .view({idx.size(0), idx.size(1), -1});
        scores.select(0, b).select(0, h).copy_((queries.select(0, b).select(0, h).to(wide_) * rows).sum(-1));
      }
    return scores.mul_(settings_.scale);
  }

  /// sum over the chosen blocks of weight times what a softmax inside the block reads: (B, m, H, dh), wide.
  /// Each query and chosen block is a reading of grouped cross-attention with a query of its own.
  at::Tensor read_blocks(const at::Tensor& queries, const at::Tensor& chosen,
                         const at::Tensor& weights) const {
    const int64_t B = q_.size(0);
    const int64_t H = q_.size(2);
    const int64_t m = q_.size(1);
    const int64_t S = settings_.block_size;
    const int64_t dh = q_.size(3);
    const auto regular_rows = [&](const at::Tensor& rows) {
      return rows.narrow(1, 0, start_).view({B, cached_, S, H, dh}).narrow(2, 0, S - 1);
    };
    const at::Tensor keys = regular_rows(keys_);
    const at::Tensor values = regular_rows(values_);
    const std::vector<int64_t> readings = {B, m * chosen_count_, 1};
    at::Tensor sums = at::empty({B, m, H, dh}, q_.options().dtype(wide_));
    for (int64_t h = 0; h < H; ++h) {
      const at::Tensor read = kernels::grouped_cross_attention(
          queries.select(1, h).reshape({B, m * chosen_count_, 1, dh}), keys.narrow(3, h, 1),
          values.narrow(3, h, 1), chosen.select(1, h).reshape(readings).to(at::kInt),
          weights.select(1, h).reshape(readings), {.chunk_size = 1, .first_offset = 0}, settings_.scale,
          /*softmax_one=*/false);
      sums.select(2, h).copy_(read.view({B, m, chosen_count_, dh}).to(wide_).sum(2));
    }
    return sums;
  }

  const Settings& settings_;
  const KeyIndex& index_;
  const at::Tensor &q_, &keys_, &values_;
  int64_t start_;
  at::ScalarType wide_;
  int64_t cached_;        // c, blocks before the segment
  int64_t chosen_count_;  // Kc, those that a query and head reads
  int64_t older_;         // blocks before the K newest
  at::Tensor places_;     // (m) of the queries in the segment
};

}  // namespace

LandmarkReadingSettings LandmarkReadingSettings::of(const ModelConfig& config) {
  return {.block_size = config.chunk_size,
          .top_k = config.chunk_top_k,
          .local_size = config.landmark_local_size,
          .all_heads = config.landmark_selection == "all_heads",
          .theta = config.landmark_positions == "slots" ? config.rope_theta : 0.0,
          .scale = score_scale(config)};
}

at::Tensor landmarks_of(const at::Tensor& keys, const LandmarkReadingSettings& settings) {
  return keys.slice(1, settings.block_size - 1, keys.size(1), settings.block_size);
}

at::Tensor keys_in_blocks(const at::Tensor& keys, int64_t position, const LandmarkReadingSettings& settings) {
  const at::Tensor places =
      at::arange(position, position + keys.size(1), at::kLong).remainder_(settings.block_size).unsqueeze(1);
  return turned(keys, places, settings);
}

LandmarkReading landmark_reading(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                                 const LandmarkReadingSettings& settings, const KeyIndex& index) {
  const int64_t end = keys.size(1);
  const int64_t begin = end - q.size(1);
  std::vector<at::Tensor> outs;
  std::vector<at::Tensor> blocks;
  std::vector<at::Tensor> shares;
  for (int64_t first = begin; first < end;) {
    const int64_t start = first / settings.local_size * settings.local_size;
    const int64_t last = std::min(end, start + settings.local_size);
    const at::Tensor part = q.narrow(1, first - begin, last - first);
    const at::Tensor seen_keys = keys.narrow(1, 0, last);
    const at::Tensor seen_values = values.narrow(1, 0, last);
    const LandmarkReading reading =
        SegmentReading(part, seen_keys, seen_values, start, settings, index).read();
    outs.push_back(reading.out);
    blocks.push_back(reading.blocks);
    shares.push_back(reading.shares);
    first = last;
  }
  if (outs.size() == 1) return {outs.front(), blocks.front(), shares.front()};
  return {at::cat(outs, 1), at::cat(blocks, 1), at::cat(shares, 1)};
}

}  // namespace gca::model
