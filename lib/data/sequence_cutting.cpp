#include "lib/data/sequence_cutting.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/data/philox_shuffle.h"

namespace gca::data {
namespace {

/// Documents with the same text: they are held out together or not at all.
struct TextGroup {
  std::vector<int64_t> documents;
  int64_t tokens = 0;
  bool held_out = false;
};

std::vector<TextGroup> group_by_text(std::span<const TokenDocument> documents) {
  std::vector<TextGroup> groups;
  std::map<std::string, size_t> group_of_text;
  for (size_t i = 0; i < documents.size(); ++i) {
    const auto [found, is_new] = group_of_text.try_emplace(documents[i].sha256, groups.size());
    if (is_new) groups.emplace_back();
    TextGroup& group = groups[found->second];
    group.documents.push_back(static_cast<int64_t>(i));
    group.tokens += documents[i].tokens;
  }
  return groups;
}

/// Walks the groups in a shuffled order and holds out each one that brings the split nearer to its target size.
void hold_out(std::vector<TextGroup>& groups, double fraction, uint64_t seed) {
  std::vector<TextGroup*> candidates;
  int64_t total = 0;
  const auto order = philox_permutation(static_cast<int64_t>(groups.size()), seed, kSplitOrder);
  for (const int64_t i : order) {
    TextGroup& group = groups[static_cast<size_t>(i)];
    if (group.tokens == 0) continue;
    candidates.push_back(&group);
    total += group.tokens;
  }
  if (candidates.size() < 2)
    fail_usage("--valid-fraction", "the tokens hold fewer than two different documents",
               "give 0, or tokenize more files: a document is never split");
  const double target = fraction * static_cast<double>(total);
  double held = 0;
  for (TextGroup* group : candidates) {
    const auto tokens = static_cast<double>(group->tokens);
    group->held_out = tokens <= 2 * (target - held);
    if (group->held_out) held += tokens;
  }
  // Both splits get something, whatever the fraction.
  const auto smallest = *std::min_element(candidates.begin(), candidates.end(),
                                          [](auto* a, auto* b) { return a->tokens < b->tokens; });
  const auto is_held = [](const TextGroup* group) { return group->held_out; };
  if (std::none_of(candidates.begin(), candidates.end(), is_held)) smallest->held_out = true;
  if (std::all_of(candidates.begin(), candidates.end(), is_held)) smallest->held_out = false;
}

/// Cuts a stretch of `length` tokens. `locate` gives document and offset of a token of the stretch.
template <class Locate>
void cut_stretch(int64_t length, const ChunkSettings& settings, SplitPlan& split, const Locate& locate) {
  const int64_t chunk_text = settings.chunk_size > 0 ? settings.chunk_size - 1 : 0;
  const int64_t shortest = std::max<int64_t>(2, chunk_text);
  for (int64_t begin = 0; begin < length; begin += settings.context) {
    const int64_t tokens = std::min(settings.context, length - begin);
    if (tokens < shortest) {
      split.counts.dropped_tokens += tokens;
      continue;
    }
    SequenceEntry entry = locate(begin);
    entry.tokens = static_cast<int32_t>(tokens);
    split.entries.push_back(entry);
    split.counts.tokens += tokens;
    split.counts.chunks += chunk_text > 0 ? tokens / chunk_text : 0;
  }
}

void cut_split(std::span<const TokenDocument> documents, const ChunkSettings& settings, SplitPlan& split) {
  const auto tokens_of = [&](int64_t document) { return documents[static_cast<size_t>(document)].tokens; };
  if (settings.join_documents) {
    int64_t length = 0;
    for (const int64_t document : split.documents) length += tokens_of(document);
    size_t slot = 0;
    int64_t slot_begin = 0;  // first token of documents[slot] within the stretch
    cut_stretch(length, settings, split, [&](int64_t begin) {
      while (begin - slot_begin >= tokens_of(split.documents[slot]))
        slot_begin += tokens_of(split.documents[slot++]);
      return SequenceEntry{split.documents[slot], begin - slot_begin, 0};
    });
  } else {
    for (const int64_t document : split.documents)
      cut_stretch(tokens_of(document), settings, split, [&](int64_t begin) {
        return SequenceEntry{document, begin, 0};
      });
  }
  split.counts.documents = static_cast<int64_t>(split.documents.size());
  split.counts.sequences = static_cast<int64_t>(split.entries.size());
}

}  // namespace

void check_chunk_settings(const ChunkSettings& settings) {
  if (settings.chunk_size != 0 && settings.chunk_size < 2)
    fail_usage("--chunk-size",
               fmt::format("{} leaves no room for text beside the landmark", settings.chunk_size),
               "give 2 or more (64 in the paper), or 0 for sequences without landmarks");
  if (settings.context < 2 || settings.context < settings.chunk_size - 1)
    fail_usage("--context", fmt::format("{} tokens are shorter than one chunk", settings.context),
               fmt::format("give {} or more", std::max<int64_t>(2, settings.chunk_size - 1)));
  if (settings.context > INT32_MAX) fail_usage("--context", "is too long", "give less than 2G tokens");
  if (!(settings.valid_fraction >= 0 && settings.valid_fraction < 1))
    fail_usage("--valid-fraction", fmt::format("{} is out of range", settings.valid_fraction),
               "give a number from 0 up to, not including, 1");
}

CutPlan cut_documents(std::span<const TokenDocument> documents, const ChunkSettings& settings) {
  check_chunk_settings(settings);
  std::vector<TextGroup> groups = group_by_text(documents);
  if (settings.valid_fraction > 0) hold_out(groups, settings.valid_fraction, settings.seed);
  CutPlan plan;
  for (const TextGroup& group : groups) {
    auto& side = (group.held_out ? plan.valid : plan.train).documents;
    side.insert(side.end(), group.documents.begin(), group.documents.end());
  }
  for (SplitPlan* split : {&plan.train, &plan.valid}) {
    std::sort(split->documents.begin(), split->documents.end());
    cut_split(documents, settings, *split);
  }
  return plan;
}

}  // namespace gca::data
