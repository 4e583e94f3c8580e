#include "lib/model/backbones/landmark/landmark_row.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/one_query_attention.h"
#include "kernels/common/thread_workspace.h"
#include "lib/model/layers/transformer_layer.h"

namespace gca::model {
namespace {

/// A block whose landmark takes part in the softmax of a position.
struct Block {
  int64_t number;      // in the text
  int64_t blocks_off;  // that a query is turned over to meet it
  float score;         // of its landmark
};

template <typename T>
class LandmarkRow final : public RowAttention {
 public:
  LandmarkRow(SearchedRows& rows, const LandmarkReadingSettings& settings, const BlockTurns& turns,
              const ModelConfig& config)
      : rows_(rows),
        settings_(settings),
        turns_(turns),
        S_(settings.block_size),
        K_(settings.top_k),
        d_(config.d_model),
        head_dim_(config.head_dim()),
        scale_(static_cast<float>(settings.scale)) {}

  bool takes_rows() const override { return rows_.takes_rows(); }

  OpenRow append_row() override {
    if (K_ > 0) rows_.index().follow(landmarks_of(rows_.keys(), settings_));
    const KvRows::OpenRow row = rows_.append_row();
    keys_ = static_cast<T*>(row.keys.first);
    values_ = static_cast<T*>(row.values.first);
    position_ = row.keys.count - 1;
    cached_ = position_ / settings_.local_size * (settings_.local_size / S_);
    own_block_ = position_ / S_;
    return {row.keys.newest<T>(d_), row.values.newest<T>(d_)};
  }

  void read(int64_t head, const float* query, float* out) override {
    turn_newest_key(head);
    const Rows rows{keys_ + head * head_dim_, values_ + head * head_dim_};
    float* turned = kernels::ThreadWorkspace<float, Turned>::get(head_dim_);

    std::vector<Block>& blocks = blocks_of_thread();
    blocks.clear();
    if (K_ > 0) choose(rows, head, query, turned, blocks);
    for (int64_t block = cached_; block < own_block_; ++block)
      blocks.push_back(scored(rows, block, own_block_ - block, query, turned));

    // The keys of the own block, its landmark left out, share a softmax with the landmarks.
    turns_.turn(query, 0, turned);
    const int64_t first_own = own_block_ * S_;
    const int64_t own_count = std::min(position_ - first_own + 1, S_ - 1);
    const float own_lse = read_rows(rows, first_own, own_count, 1, turned, out);
    float largest = own_lse;
    for (const Block& block : blocks) largest = std::max(largest, block.score);
    float sum = std::exp(own_lse - largest);
    for (const Block& block : blocks) sum += std::exp(block.score - largest);
    const float lse = largest + std::log(sum);
    kernels::scale_floats(std::exp(own_lse - lse), head_dim_, out);
    for (const Block& block : blocks) {
      turns_.turn(query, block.blocks_off, turned);
      read_rows(rows, block.number * S_, S_ - 1, std::exp(block.score - lse), turned, out);
    }
  }

 private:
  struct Turned;
  struct Scores;
  struct Found;
  struct Places;
  struct Newest;

  /// Of one head: rows are d apart.
  struct Rows {
    const T* keys;
    const T* values;
  };

  static std::vector<Block>& blocks_of_thread() {
    thread_local std::vector<Block> blocks;
    return blocks;
  }

  /// Keys are kept as they stand in their block.
  void turn_newest_key(int64_t head) const {
    if (settings_.theta <= 0) return;
    const kernels::TileKernels& floats = kernels::tile_kernels();
    float* wide = kernels::ThreadWorkspace<float, Newest>::get(head_dim_);
    T* key = keys_ + position_ * d_ + head * head_dim_;
    kernels::load_tile(floats, 1, head_dim_, key, 0, wide, 0);
    turns_.turn(wide, 0, wide);
    kernels::store_tile(floats, 1, head_dim_, wide, 0, key, 0);
  }

  /// out += weight * what a softmax over these rows reads. Returns the logarithm of its denominator.
  float read_rows(const Rows& rows, int64_t first, int64_t count, float weight, const float* query,
                  float* out) const {
    return kernels::read_with_one_query(
        kernels::tile_kernels(), head_dim_, query,
        kernels::HeadRows<T>{rows.keys + first * d_, rows.values + first * d_, d_, d_, count},
        kernels::OneQueryScores{.scale = scale_, .weight = weight},
        kernels::ThreadWorkspace<float, Scores>::get(count), out);
  }

  /// A block with the score of its landmark by a query turned over so many blocks.
  Block scored(const Rows& rows, int64_t number, int64_t blocks_off, const float* query,
               float* turned) const {
    turns_.turn(query, blocks_off, turned);
    float product = 0;
    kernels::dot_rows(kernels::tile_kernels(), 1, head_dim_, turned, rows.keys + (number * S_ + S_ - 1) * d_,
                      d_, &product);
    return {number, blocks_off, product * scale_};
  }

  /// Appends the K blocks before the segment that the head scores highest, in the order of the text, each as it stands
  /// in its slot (landmark_reading.h).
  void choose(const Rows& rows, int64_t head, const float* query, float* turned,
              std::vector<Block>& blocks) const {
    const int64_t older = std::max<int64_t>(0, cached_ - K_);
    // From slot 0 to the position.
    const int64_t all_slots = std::min(cached_, K_ + 1) + own_block_ - cached_;
    if (older > 0) {
      find_older(head, older, all_slots, query, turned, blocks);
      for (int64_t i = 0; i < K_; ++i)
        blocks.push_back(scored(rows, older + i, all_slots - 1 - i, query, turned));
      // Of equal scores the earlier block is taken.
      std::stable_sort(blocks.begin(), blocks.end(),
                       [](const Block& a, const Block& b) { return a.score > b.score; });
      blocks.resize(static_cast<size_t>(K_));
      std::sort(blocks.begin(), blocks.end(),
                [](const Block& a, const Block& b) { return a.number < b.number; });
    } else {
      for (int64_t number = 0; number < cached_; ++number) blocks.push_back({number, 0, 0});
    }
    for (size_t slot = 0; slot < blocks.size(); ++slot) {
      const int64_t number = blocks[slot].number;
      const int64_t place = static_cast<int64_t>(slot) + (older > 0 && number >= older ? 1 : 0);
      blocks[slot] = scored(rows, number, all_slots - place, query, turned);
    }
  }

  /// The best of the first `older` blocks, which are ranked as if each stood at slot 0.
  void find_older(int64_t head, int64_t older, int64_t all_slots, const float* query, float* turned,
                  std::vector<Block>& blocks) const {
    turns_.turn(query, all_slots, turned);
    int32_t* best = kernels::ThreadWorkspace<int32_t, Places>::get(K_);
    float* score = kernels::ThreadWorkspace<float, Found>::get(K_);
    const kernels::LandmarkRows landmarks{.first = keys_ + (S_ - 1) * d_ + head * head_dim_,
                                          .type = c10::CppTypeToScalarType<T>::value,
                                          .count = older,
                                          .step = S_ * d_};
    rows_.index().search_row(landmarks, head, turned, head_dim_, K_, scale_, best, score);
    for (int64_t i = 0; i < K_ && best[i] >= 0; ++i) blocks.push_back({best[i], all_slots, score[i]});
  }

  SearchedRows& rows_;
  const LandmarkReadingSettings& settings_;
  const BlockTurns& turns_;
  int64_t S_, K_, d_, head_dim_;
  float scale_;
  T *keys_ = nullptr, *values_ = nullptr;  // (position + 1, H, dh), this position's at the end
  int64_t position_ = 0;
  int64_t cached_ = 0;     // blocks before the segment
  int64_t own_block_ = 0;  // of the position
};

}  // namespace

BlockTurns::BlockTurns(int64_t position, int64_t head_dim, const LandmarkReadingSettings& settings)
    : head_dim_(head_dim) {
  if (settings.theta <= 0) return;
  const int64_t S = settings.block_size;
  const int64_t half = head_dim / 2;
  std::vector<double> frequencies;
  for (int64_t e = 0; e < half; ++e)
    frequencies.push_back(std::pow(settings.theta, -static_cast<double>(e) / static_cast<double>(half)));
  const int64_t most = position % settings.local_size / S + settings.top_k + 1;
  for (int64_t m = 0; m <= most; ++m)
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position % S + m * S) * frequency;
      cosine_.push_back(static_cast<float>(std::cos(angle)));
      sine_.push_back(static_cast<float>(std::sin(angle)));
    }
}

void BlockTurns::turn(const float* x, int64_t m, float* to) const {
  if (cosine_.empty()) {
    if (to != x) std::copy_n(x, head_dim_, to);
    return;
  }
  const int64_t half = head_dim_ / 2;
  const float* cosine = cosine_.data() + m * half;
  const float* sine = sine_.data() + m * half;
  for (int64_t e = 0; e < half; ++e) {
    const float a = x[e];
    const float b = x[half + e];
    to[e] = a * cosine[e] - b * sine[e];
    to[half + e] = b * cosine[e] + a * sine[e];
  }
}

std::unique_ptr<RowAttention> landmark_row(SearchedRows& rows, const LandmarkReadingSettings& settings,
                                           const BlockTurns& turns, const ModelConfig& config,
                                           at::ScalarType compute_dtype) {
  return make_row_attention<LandmarkRow>(compute_dtype, rows, settings, turns, config);
}

}  // namespace gca::model
