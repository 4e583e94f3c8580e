#include "lib/model/backbone_kinds.h"

#include <fmt/format.h>
#include <array>

#include "lib/core/error.h"

namespace gca::model {
namespace {

template <class... Kinds>
constexpr std::array<const BackboneKind*, sizeof...(Kinds)> kinds_of(KindList<Kinds...> /*list*/) {
  return {&Kinds::kind...};
}

constexpr auto kKinds = kinds_of(BackboneKinds{});

/// "gca or none": the names of those kinds that `belongs` is true of, each once.
template <class Belongs>
std::string names_where(const Belongs& belongs) {
  std::string names;
  for (const BackboneKind* kind : kKinds)
    if (belongs(*kind) &&
        (" or " + names + " or ").find(fmt::format(" or {} or ", kind->name)) == std::string::npos)
      names += (names.empty() ? "" : " or ") + std::string(kind->name);
  return names;
}

}  // namespace

std::span<const BackboneKind* const> backbone_kinds() {
  return kKinds;
}

const BackboneKind& backbone_kind(const ModelConfig& config, const std::string& where) {
  for (const BackboneKind* kind : kKinds)
    if (config.long_range == kind->name && config.self_attention == kind->self_attention) return *kind;
  const std::string names =
      names_where([&](const BackboneKind& kind) { return config.self_attention == kind.self_attention; });
  if (names.empty())
    fail_usage(where, fmt::format("self_attention is \"{}\"", config.self_attention), "use window or full");
  fail_usage(where,
             config.self_attention == "window" ? fmt::format("long_range is \"{}\"", config.long_range)
                                               : fmt::format("long_range is \"{}\" with self_attention {}",
                                                             config.long_range, config.self_attention),
             "use " + names);
}

Reach reach_of(const ModelConfig& config) {
  return backbone_kind(config).reach(config);
}

data::ChunkLayout chunk_layout_of(const ModelConfig& config) {
  if (!backbone_kind(config).has_landmarks) return {};
  return {.chunk_size = config.chunk_size, .landmark_id = config.resolved_landmark_id()};
}

bool chooses_by_vectors(const ModelConfig& config) {
  return backbone_kind(config).keeps_chunk_memory && config.retriever == kFrozenRetriever;
}

void require_choice_without_vectors(const ModelConfig& config, const std::string& where,
                                    const std::string& text) {
  if (!chooses_by_vectors(config)) return;
  fail_usage(
      where,
      "chooses chunks by vectors of a data set (retriever frozen), and " + text + " has no such vectors",
      "use a model whose retriever is learned or random");
}

void require_chunk_memory(const ModelConfig& config, const std::string& where) {
  const BackboneKind& kind = backbone_kind(config);
  if (kind.keeps_chunk_memory) return;
  fail_usage(where, fmt::format("is a model with long_range \"{}\", which keeps no chunk memory", kind.name),
             fmt::format("give one trained with long_range {}",
                         names_where([](const BackboneKind& one) { return one.keeps_chunk_memory; })));
}

}  // namespace gca::model
