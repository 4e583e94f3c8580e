#include "lib/generate/prefix_cache.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/generate/kept_tensors.h"
#include "lib/model/kv_cache/kv_session.h"
#include "lib/model/model_fingerprint.h"

namespace gca::generate {
namespace {

constexpr const char* kTokens = "prefix_tokens";
constexpr const char* kFormat = "gca.prefix/1";

/// Metadata of a file: what it must agree with.
std::map<std::string, std::string> identity_of(const model::TextModel& model, const model::KvPolicy& policy) {
  return {{"gca.format", kFormat},
          {"gca.kv_policy", model::kv_policy_to_json(policy).dump()},
          {"gca.dtype", name_of(model.model.compute_dtype())}};
}

}  // namespace

void save_prefix(const std::string& path, const model::TextModel& model, const model::KvPolicy& policy,
                 std::span<const int32_t> prefix, model::Past& past) {
  KeptTensors tensors;
  tensors.add(kTokens, at::tensor(std::vector<int32_t>(prefix.begin(), prefix.end()), at::kInt));
  const std::unique_ptr<model::Past> copy = past.clone();
  copy->visit([&](const std::string& name, at::Tensor& tensor) {
    if (tensor.defined()) tensors.add(name, tensor);
  });
  std::map<std::string, std::string> metadata = identity_of(model, policy);
  metadata["gca.model"] = model::model_fingerprint(model.model);
  write_safetensors(path, tensors.list(), metadata);
}

KeptPrefix load_prefix(const std::string& path, const model::TextModel& model, const model::KvPolicy& policy,
                       std::span<const int32_t> prompt) {
  const SafetensorsFile file(path);
  file.verify();
  const auto said = [&](const std::string& key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string("none") : found->second;
  };
  if (said("gca.format") != kFormat)
    fail_usage(path, "is no prefix that --prefix-cache wrote", "name another file, which will be written");
  for (const auto& [key, value] : identity_of(model, policy))
    if (said(key) != value)
      fail_usage(path, fmt::format("was written with {} {}, not {}", key.substr(4), said(key), value),
                 "give the settings that wrote it, or another file");
  if (!model::is_fingerprint_of(said("gca.model"), model.model))
    fail_usage(path, "was written with another model than " + model.folder, "give another file");

  const at::Tensor tokens = copy_of_entry(file, kTokens);
  if (!tokens.defined()) fail_usage(path, "holds no tokens", "give another file");
  const std::span<const int32_t> prefix(tokens.const_data_ptr<int32_t>(),
                                        static_cast<size_t>(tokens.numel()));
  if (prompt.size() <= prefix.size() || !std::equal(prefix.begin(), prefix.end(), prompt.begin()))
    fail_usage(path, fmt::format("the prompt does not begin with its {} tokens and go on", prefix.size()),
               "give a prompt that does, or another file");
  KeptPrefix kept;
  kept.tokens = tokens.numel();
  kept.past = model::begin_with_policy(model.model, policy, kept.tokens);
  kept.past->visit([&](const std::string& name, at::Tensor& tensor) { tensor = copy_of_entry(file, name); });
  return kept;
}

}  // namespace gca::generate
