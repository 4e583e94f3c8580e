#include "lib/eval/needle_accuracy.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <set>

namespace gca {
namespace {

constexpr int64_t kDepths = 10;

/// Chunks in which a stretch of text stands.
std::set<int64_t> chunks_of(const TokenSpan& span, int64_t chunk_text) {
  std::set<int64_t> chunks;
  for (int64_t j = span.first; j < span.first + span.tokens; ++j) chunks.insert(j / chunk_text);
  return chunks;
}

std::set<int64_t> chosen_chunks(const OpenRetrieval& retrieval) {
  const at::Tensor idx = retrieval.idx.to(at::kCPU, at::kLong).contiguous();
  const auto* data = idx.const_data_ptr<int64_t>();
  return {data, data + idx.numel()};
}

/// (n, V) 0 where an id may be generated, minus infinity elsewhere.
at::Tensor penalty_of(std::span<const uint8_t> allowed) {
  std::vector<float> penalty;
  for (const uint8_t is_allowed : allowed)
    penalty.push_back(is_allowed != 0 ? 0.0F : -std::numeric_limits<float>::infinity());
  return at::tensor(penalty);
}

}  // namespace

std::vector<int64_t> trials_by_haystack(const NeedleTrials& how) {
  std::vector<int64_t> trials;
  for (int64_t haystack = 0; haystack < how.haystacks; ++haystack)
    for (int64_t trial = haystack; trial < how.trials; trial += how.haystacks) trials.push_back(trial);
  return trials;
}

NeedleAccuracy measure_needles(const Drt& model, const NeedleTask& task, const Haystack& haystack,
                               PrefilledText& prefill, const NeedleTrials& how,
                               std::span<const uint8_t> allowed,
                               const std::function<void(const NeedleAccuracy&)>& progress) {
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const int64_t chunk_text = task.settings().chunk_text;
  const bool scores_last = task.settings().kind == NeedleKind::multihop;
  const int64_t chunks = task.chunks_within(how.context);
  const at::Tensor penalty = penalty_of(allowed);

  NeedleAccuracy result;
  for (int64_t tenth = 0; tenth < kDepths; ++tenth)
    result.depths.push_back({static_cast<double>(tenth) / kDepths, 0, 0});
  for (const int64_t trial : trials_by_haystack(how)) {
    const int64_t haystack_first = trial % how.haystacks * (haystack.token_count() / how.haystacks);
    const NeedleText text =
        task.text(NeedleTask::kFirstHeldOut + trial, chunks, haystack.token_count(), haystack_first);
    const NeedleQuestion& question = text.questions.back();
    const EditedText edited{text.haystack_first, text.edits};
    result.text_tokens = text.text_tokens;

    TextFeeder feeder = prefill.prefill(edited, chunks * chunk_text);
    const std::vector<OpenRetrieval>& retrieval = feeder.state().open_retrieval;
    if (result.retrieval.empty())
      for (size_t group = 0; group < retrieval.size(); ++group)
        for (size_t needle = 0; needle < question.values.size(); ++needle)
          result.retrieval.push_back({static_cast<int64_t>(group), static_cast<int64_t>(needle), 0});
    for (RetrievalCount& count : result.retrieval) {
      const std::set<int64_t> chosen = chosen_chunks(retrieval[static_cast<size_t>(count.group)]);
      const std::set<int64_t> wanted =
          chunks_of(question.values[static_cast<size_t>(count.needle)], chunk_text);
      count.retrieved += std::includes(chosen.begin(), chosen.end(), wanted.begin(), wanted.end()) ? 1 : 0;
    }

    // The token before the answer, and the answer but for its last token: each row predicts one of its
    // tokens.
    const auto answer_tokens = static_cast<int64_t>(question.answer.size());
    std::vector<int32_t> predicted;
    feeder.feed(edited.read(haystack, question.first_answer - 1, answer_tokens),
                [&](const at::Tensor& hidden, int64_t) {
                  const at::Tensor best =
                      (model.logits(hidden.select(0, 0)).to(at::kCPU) + penalty).argmax(-1).contiguous();
                  const auto* ids = best.const_data_ptr<int64_t>();
                  for (int64_t i = 0; i < best.numel(); ++i)
                    predicted.push_back(static_cast<int32_t>(ids[i]));
                });
    const bool is_correct = scores_last ? predicted.back() == question.answer.back()
                                        : predicted.front() == question.answer.front();
    ++result.trials;
    result.correct += is_correct ? 1 : 0;
    result.exact += predicted == question.answer ? 1 : 0;
    DepthCount& depth = result.depths[static_cast<size_t>(
        std::min(kDepths - 1, question.values.front().first * kDepths / text.needle_room))];
    ++depth.trials;
    depth.correct += is_correct ? 1 : 0;
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress(result);
  }
  return result;
}

}  // namespace gca
