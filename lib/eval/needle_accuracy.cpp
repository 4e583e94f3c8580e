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

/// Best first, without the empty slots.
std::vector<int64_t> chosen_chunks(const OpenRetrieval& retrieval) {
  const at::Tensor idx = retrieval.idx.to(at::kCPU, at::kLong).contiguous();
  std::vector<int64_t> chunks(idx.const_data_ptr<int64_t>(), idx.const_data_ptr<int64_t>() + idx.numel());
  std::erase(chunks, -1);
  return chunks;
}

bool holds_all(const std::vector<int64_t>& chosen, const std::set<int64_t>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](int64_t chunk) {
    return std::find(chosen.begin(), chosen.end(), chunk) != chosen.end();
  });
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
    NeedleTrial one;
    one.trial = trial;
    one.values = question.values;
    for (const OpenRetrieval& group : retrieval) one.retrieved.push_back(chosen_chunks(group));
    for (RetrievalCount& count : result.retrieval)
      count.retrieved += holds_all(one.retrieved[static_cast<size_t>(count.group)],
                                   chunks_of(question.values[static_cast<size_t>(count.needle)], chunk_text))
                             ? 1
                             : 0;
    const bool is_cut = std::any_of(one.values.begin(), one.values.end(), [&](const TokenSpan& value) {
      return chunks_of(value, chunk_text).size() > 1;
    });

    // The token before the answer, and the answer but for its last token: each row predicts one of its tokens.
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
    one.is_correct = scores_last ? predicted.back() == question.answer.back()
                                 : predicted.front() == question.answer.front();
    one.is_exact = predicted == question.answer;
    ++result.trials;
    result.correct += one.is_correct ? 1 : 0;
    result.exact += one.is_exact ? 1 : 0;
    result.cut_trials += is_cut ? 1 : 0;
    result.cut_exact += is_cut && one.is_exact ? 1 : 0;
    DepthCount& depth = result.depths[static_cast<size_t>(
        std::min(kDepths - 1, question.values.front().first * kDepths / text.needle_room))];
    ++depth.trials;
    depth.correct += one.is_correct ? 1 : 0;
    result.trial_list.push_back(std::move(one));
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress(result);
  }
  return result;
}

}  // namespace gca
