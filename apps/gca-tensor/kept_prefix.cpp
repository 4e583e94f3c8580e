#include "apps/gca-tensor/kept_prefix.h"

#include <filesystem>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/generate/prefix_cache.h"
#include "lib/model/kv_cache/kv_session.h"
#include "lib/model/kv_cache/recycled_cache.h"

namespace gca::app {

int64_t begin_with_prefix(const GenerateOptions& options, const model::TextModel& model,
                          std::span<const int32_t> prompt, generate::TextSession& session) {
  const KvPolicyOptions& kv = options.kv;
  if (kv.prefix_tokens == 0 && kv.prefix_cache.empty()) return 0;
  if (session.past && session.past->position() > 0)
    fail_usage(kv.prefix_cache.empty() ? "--prefix-tokens" : "--prefix-cache",
               "a session that goes on has its prefix already", "leave it out");
  if (!kv.prefix_cache.empty() && std::filesystem::exists(kv.prefix_cache)) {
    generate::KeptPrefix kept = generate::load_prefix(kv.prefix_cache, model, kv.policy, prompt);
    if (kv.prefix_tokens > 0 && kv.prefix_tokens != kept.tokens)
      fail_usage(fmt::format("--prefix-tokens {}", kv.prefix_tokens),
                 fmt::format("{} keeps a prefix of {}", kv.prefix_cache, kept.tokens), "leave it out");
    session.past = std::move(kept.past);
    return kept.tokens;
  }
  if (kv.prefix_tokens == 0)
    fail_usage("--prefix-cache " + kv.prefix_cache, "is not there yet",
               "give --prefix-tokens N, to write it");
  if (kv.prefix_tokens >= static_cast<int64_t>(prompt.size()))
    fail_usage(fmt::format("--prefix-tokens {}", kv.prefix_tokens),
               fmt::format("the prompt has {} tokens", prompt.size()), "leave at least one after the prefix");
  const auto prefix = prompt.first(static_cast<size_t>(kv.prefix_tokens));
  session.past = model::begin_with_policy(model.model, kv.policy);
  model::read_prefix(model.model, session.past, prefix, options.generation.segment_positions);
  if (!kv.prefix_cache.empty())
    generate::save_prefix(kv.prefix_cache, model, kv.policy, prefix, *session.past);
  return kv.prefix_tokens;
}

nlohmann::ordered_json kv_reads_to_json(const model::KvCache& cache, int64_t new_tokens) {
  const model::KvReads& reads = cache.reads();
  nlohmann::ordered_json json;
  json["bytes_per_token"] = new_tokens > 0 ? reads.bytes / static_cast<double>(new_tokens) : 0.0;
  json["share_read"] = reads.share_read();
  if (const auto* recycled = dynamic_cast<const model::RecycledCache*>(&cache))
    json["full_steps"] = recycled->full_steps();
  return json;
}

}  // namespace gca::app
