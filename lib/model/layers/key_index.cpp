#include "lib/model/layers/key_index.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>

#include <algorithm>

#include "kernels/common/thread_workspace.h"

namespace gca::model {
namespace {

constexpr int64_t kRun = kernels::kCoarseRun;
constexpr int64_t kBlockRuns = 64;
constexpr int64_t kBlockKeys = kBlockRuns * kRun;

}  // namespace

void KeyIndex::follow(const at::Tensor& keys) {
  if (keys.size(0) != 1 || keys.scalar_type() == at::kDouble) return;
  const int64_t runs = keys.size(1) / kRun;
  const auto full_blocks = std::max<int64_t>(0, static_cast<int64_t>(blocks_.size()) - 1);
  int64_t copied = blocks_.empty() ? 0 : full_blocks * kBlockRuns + blocks_.back().front().run_count();
  while (copied < runs) {
    if (copied % kBlockRuns == 0) {
      std::vector<kernels::CoarseLandmarks>& heads = blocks_.emplace_back();
      for (int64_t head = 0; head < keys.size(2); ++head) heads.emplace_back(keys.size(3), kBlockKeys);
    }
    const int64_t added = std::min(runs - copied, kBlockRuns - copied % kBlockRuns);
    const at::Tensor rows = keys.select(0, 0)
                                .narrow(0, copied * kRun, added * kRun)
                                .transpose(0, 1)
                                .to(at::kFloat)
                                .contiguous();  // (H, rows, dh)
    for (int64_t head = 0; head < keys.size(2); ++head)
      blocks_.back()[static_cast<size_t>(head)].append(rows.select(0, head).const_data_ptr<float>(), added);
    copied += added;
  }
}

void KeyIndex::for_parts(int64_t head, int64_t count,
                         const std::function<void(int64_t, int64_t, kernels::CoarseRuns)>& add) const {
  int64_t first = 0;
  for (const std::vector<kernels::CoarseLandmarks>& heads : blocks_) {
    if (first >= count) break;
    const kernels::CoarseLandmarks& copy = heads[static_cast<size_t>(head)];
    const int64_t own = std::min(kBlockKeys, count - first);
    add(first, own, copy.runs(0, std::min(copy.run_count(), own / kRun)));
    first += own;
  }
  if (first < count) add(first, count - first, {});
}

std::vector<kernels::LandmarkPart> KeyIndex::parts(const at::Tensor& keys, int64_t b, int64_t head,
                                                   int64_t count) const {
  const at::Tensor rows = keys.narrow(0, b, 1).select(2, head);
  std::vector<kernels::LandmarkPart> parts;
  for_parts(head, count, [&](int64_t first, int64_t own, const kernels::CoarseRuns& coarse) {
    parts.push_back({rows.narrow(1, first, own), coarse});
  });
  return parts;
}

void KeyIndex::search_row(const kernels::LandmarkRows& keys, int64_t head, const float* query, int64_t d,
                          int64_t K, float scale, int32_t* idx, float* score) const {
  const auto* bytes = static_cast<const char*>(keys.first);
  const int64_t step_bytes = keys.step * static_cast<int64_t>(at::elementSize(keys.type));
  std::vector<kernels::LandmarkRows> parts;
  for_parts(head, keys.count, [&](int64_t first, int64_t own, const kernels::CoarseRuns& coarse) {
    parts.push_back({bytes + first * step_bytes, keys.type, own, keys.step, coarse});
  });
  float* scaled = kernels::ThreadWorkspace<float, KeyIndex>::get(d);
  std::transform(query, query + d, scaled, [scale](float q) { return q * scale; });
  kernels::landmark_search_row(scaled, d, parts, K, idx, score);
}

int64_t KeyIndex::size_bytes() const {
  int64_t bytes = 0;
  for (const std::vector<kernels::CoarseLandmarks>& heads : blocks_)
    for (const kernels::CoarseLandmarks& copy : heads) bytes += copy.size_bytes();
  return bytes;
}

BestKeys search_keys(const at::Tensor& queries,
                     const std::function<std::vector<kernels::LandmarkPart>(int64_t b, int64_t head)>& parts,
                     int64_t count, int64_t K, double scale) {
  std::vector<int64_t> shape = queries.sizes().vec();
  shape.back() = K;
  BestKeys best{at::empty(shape, queries.options().dtype(at::kLong)), at::empty(shape, queries.options())};
  for (int64_t b = 0; b < shape[0]; ++b)
    for (int64_t h = 0; h < shape[1]; ++h) {
      const kernels::LandmarkChoice choice =
          kernels::landmark_search(queries.select(1, h).narrow(0, b, 1), parts(b, h), count, K, scale);
      const auto [places, order] = choice.idx.select(0, 0).to(at::kLong).sort(-1);
      best.places.select(0, b).select(0, h).copy_(places);
      best.scores.select(0, b).select(0, h).copy_(choice.r.select(0, 0).gather(-1, order));
    }
  return best;
}

}  // namespace gca::model
