#include "lib/eval/recall_rate.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "lib/core/error.h"
#include "lib/data/bm25.h"

namespace gca {
namespace {

constexpr int64_t kDepths = 10;

/// Chunks that lie for at least half of their text within [first, first + tokens).
std::set<int64_t> chunks_within(int64_t first, int64_t tokens, int64_t chunk_text) {
  std::set<int64_t> chunks;
  for (int64_t chunk = first / chunk_text; chunk * chunk_text < first + tokens; ++chunk) {
    const int64_t from = std::max(first, chunk * chunk_text);
    const int64_t to = std::min(first + tokens, (chunk + 1) * chunk_text);
    if (2 * (to - from) >= chunk_text) chunks.insert(chunk);
  }
  return chunks;
}

template <class Chunks>
bool any_of(const Chunks& chosen, const std::set<int64_t>& wanted) {
  return std::any_of(chosen.begin(), chosen.end(), [&](int64_t chunk) { return wanted.contains(chunk); });
}

/// Probability that K of C chunks, drawn without replacement, hold one of `wanted`.
double chance_of_hit(int64_t wanted, int64_t C, int64_t K) {
  double miss = 1.0;
  for (int64_t k = 0; k < std::min(K, C); ++k)
    miss *= std::max(0.0, static_cast<double>(C - wanted - k)) / static_cast<double>(C - k);
  return 1.0 - miss;
}

}  // namespace

RecallRate measure_recall(const Drt& model, const RecallTask& task, const Haystack& haystack,
                          PrefilledText& prefill, const NeedleTrials& how,
                          const std::function<void(const RecallRate&)>& progress) {
  if (!model.config().uses_retrieval())
    fail_usage("--task recall", "the checkpoint is a sliding-window model, which retrieves nothing",
               "give one with long_range \"gca\"");
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const int64_t chunk_text = task.settings().chunk_text;
  const int64_t chunks = task.chunks_within(how.context);
  const int64_t K = model.config().chunk_top_k;

  RecallRate result;
  result.text_tokens = chunks * chunk_text;
  result.group_hits.assign(static_cast<size_t>(model.config().retrieval_groups), 0);
  for (int64_t tenth = 0; tenth < kDepths; ++tenth)
    result.depths.push_back({static_cast<double>(tenth) / kDepths, 0, 0});
  for (const int64_t trial : trials_by_haystack(how)) {
    const int64_t haystack_first = trial % how.haystacks * (haystack.token_count() / how.haystacks);
    const RecallText text = task.text(RecallTask::kFirstHeldOut + trial, chunks, haystack, haystack_first);
    const EditedText edited{text.haystack_first, text.edits};
    const std::set<int64_t> wanted =
        chunks_within(text.first_occurrence, task.settings().passage_tokens, chunk_text);

    const TextFeeder feeder = prefill.prefill(edited, chunks * chunk_text);
    bool hit = false;
    for (size_t group = 0; group < result.group_hits.size(); ++group) {
      const at::Tensor idx = feeder.state().open_retrieval[group].idx.to(at::kCPU, at::kLong).contiguous();
      const auto* data = idx.const_data_ptr<int64_t>();
      const bool group_hit = any_of(std::set<int64_t>(data, data + idx.numel()), wanted);
      result.group_hits[group] += group_hit ? 1 : 0;
      hit |= group_hit;
    }
    // Candidates of the choice: all chunks before that of the landmark.
    const std::vector<int32_t> tokens = edited.read(haystack, 0, chunks * chunk_text);
    const auto query = std::span(tokens).last(static_cast<size_t>(chunk_text));
    result.bm25_hits += any_of(bm25_top_k(tokens, chunk_text, chunks - 1, query, K), wanted) ? 1 : 0;
    result.random_hits += chance_of_hit(static_cast<int64_t>(wanted.size()), chunks - 1, K);
    ++result.trials;
    result.hits += hit ? 1 : 0;
    DepthCount& depth = result.depths[static_cast<size_t>(
        std::min(kDepths - 1, text.first_occurrence * kDepths / text.passage_room))];
    ++depth.trials;
    depth.correct += hit ? 1 : 0;
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress(result);
  }
  return result;
}

}  // namespace gca
