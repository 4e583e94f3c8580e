#include "lib/generate/text_session.h"

#include <array>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/data/output_folder.h"
#include "lib/generate/kept_tensors.h"
#include "lib/generate/session_index.h"
#include "lib/model/kv_cache/kv_session.h"
#include "lib/model/model_fingerprint.h"
#include "lib/model/text_feeder.h"

namespace gca::generate {
namespace {

constexpr std::array<const char*, 2> kFiles = {"index.json", "session.safetensors"};

/// As an index keeps it: empty for the cache that every model has.
std::string text_of(const model::KvPolicy& policy) {
  return policy.is_plain() ? "" : model::kv_policy_to_json(policy).dump();
}

std::string digest_of(const at::Tensor& tensor) {
  return sha256_hex({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
}

/// Visits every tensor of a session. One list for saving and loading: `visitor` reads or sets the tensor.
void visit_session(TextSession& session, const model::Past::Visitor& visitor) {
  visitor("last_hidden", session.last_hidden);
  session.past->visit(visitor);
}

/// The entry `name` as a tensor; undefined where the file has none.
at::Tensor read_tensor(const SafetensorsFile& file, const std::map<std::string, std::string>& digests,
                       const std::string& name) {
  const auto found = file.entries().find(name);
  const auto digest = digests.find(name);
  if (found == file.entries().end() && digest == digests.end()) return {};
  if (found == file.entries().end() || digest == digests.end())
    fail_usage(file.path(), "does not belong to the index.json beside it", "save the session again");
  at::Tensor tensor = copy_of_entry(file, name);
  if (digest_of(tensor) != digest->second)
    fail_usage(file.path(), name + " is damaged", "save the session again");
  return tensor;
}

}  // namespace

void check_session_folder(const std::string& folder, const std::string& flag) {
  data::claim_output_folder(folder, kSessionFormat, kFiles, flag);
}

void save_session(const std::string& folder, const std::string& flag, const model::TextModel& model,
                  const TextSession& session, const model::KvPolicy& policy) {
  const std::string path = data::claim_output_folder(folder, kSessionFormat, kFiles, flag);
  TextSession copy = session.clone();
  KeptTensors tensors;
  std::map<std::string, std::string> digests;
  visit_session(copy, [&](const std::string& name, at::Tensor& tensor) {
    if (tensor.defined()) digests[name] = digest_of(tensors.add(name, tensor));
  });
  replace_folder_atomically(path, [&](const std::string& aside) {
    write_safetensors(aside + "/session.safetensors", tensors.list(), {{"format", "pt"}});
    SessionIndex index;
    index.position = copy.past->position();
    index.kv_policy = text_of(policy);
    index.drawn_tokens = copy.drawn_tokens;
    index.dtype = name_of(model.model.compute_dtype());
    index.model = model::model_fingerprint(model.model);
    index.tokenizer = model.tokenizer.fingerprint();
    index.tensors = digests;
    write_session_index(aside + "/index.json", index);
  });
}

TextSession load_session(const std::string& folder, const model::TextModel& model,
                         const model::MemoryPlace& place, const model::KvPolicy& policy) {
  const SessionIndex index = read_session_index(folder + "/index.json");
  if (index.dtype != name_of(model.model.compute_dtype()))
    fail_usage(folder,
               fmt::format("was saved in {}, the model now computes in {}", index.dtype,
                           name_of(model.model.compute_dtype())),
               "give the --dtype of the run that saved it");
  if (!model::is_fingerprint_of(index.model, model.model))
    fail_usage(folder, "was saved with another model than " + model.folder,
               "give the checkpoint that saved it");
  model.require_tokenizer(index.tokenizer, folder);

  if (index.kv_policy != text_of(policy)) {
    const auto shown = [](const std::string& text) { return text.empty() ? R"({"name":"full"})" : text; };
    fail_usage(folder,
               fmt::format("was saved with the cache policy {}, not {}", shown(index.kv_policy),
                           shown(text_of(policy))),
               "give the --kv-policy, its settings and the --kv-dtype of the run that saved it");
  }
  const SafetensorsFile file(folder + "/session.safetensors");
  TextSession session;
  session.past = model::begin_past(model.model, place, policy, index.position);
  session.drawn_tokens = index.drawn_tokens;
  visit_session(session, [&](const std::string& name, at::Tensor& tensor) {
    tensor = read_tensor(file, index.tensors, name);
    if (tensor.defined()) tensor = tensor.to(model.model.device());
  });
  return session;
}

}  // namespace gca::generate
