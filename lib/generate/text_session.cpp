#include "lib/generate/text_session.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cstring>
#include <functional>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/core/atomic_file.h"
#include "lib/core/error.h"
#include "lib/core/safetensors_file.h"
#include "lib/core/sha256.h"
#include "lib/data/output_folder.h"
#include "lib/generate/session_index.h"
#include "lib/model/memory/stored_chunk_memory.h"
#include "lib/model/model_fingerprint.h"

namespace gca {
namespace {

constexpr std::array<const char*, 2> kFiles = {"index.json", "session.safetensors"};

struct TypeName {
  at::ScalarType type;
  const char* name;
};
constexpr TypeName kTypeNames[] = {
    {at::kFloat, "F32"}, {at::kBFloat16, "BF16"}, {at::kDouble, "F64"}, {at::kInt, "I32"}};

std::string name_of(at::ScalarType type) {
  for (const TypeName& one : kTypeNames)
    if (one.type == type) return one.name;
  fail_run("session", "a tensor of a type that has no name here");
}

std::string digest_of(const at::Tensor& tensor) {
  return sha256_hex({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
}

/// Calls visit(name, tensor) for every tensor of a session. One list for saving and loading: `visit` reads or
/// sets the tensor.
void for_each_tensor(TextSession& session,
                     const std::function<void(const std::string&, at::Tensor&)>& visit) {
  DrtState& state = session.state;
  visit("last_hidden", session.last_hidden);
  visit("open_chunk", state.open_chunk);
  for (size_t g = 0; g < state.open_retrieval.size(); ++g) {
    visit(fmt::format("open_retrieval.{}.idx", g), state.open_retrieval[g].idx);
    visit(fmt::format("open_retrieval.{}.weights", g), state.open_retrieval[g].weights);
  }
  for (size_t layer = 0; layer < state.windows.size(); ++layer) {
    WindowCache::Rows rows = state.windows[layer].held();
    visit(fmt::format("window.{}.keys", layer), rows.keys);
    visit(fmt::format("window.{}.values", layer), rows.values);
    if (rows.keys.defined()) state.windows[layer] = WindowCache::holding(rows);
  }
  const bool remembers = state.memory && state.memory->chunk_count() > 0;
  at::Tensor landmarks = remembers ? state.memory->landmarks() : at::Tensor();
  at::Tensor keys, values;
  if (remembers) {
    const at::Tensor every =
        at::arange(state.memory->chunk_count(), session.last_hidden.options().dtype(at::kInt))
            .view({1, 1, -1});
    const ChunkView view = state.memory->read(every);
    keys = view.keys;
    values = view.values;
  }
  visit("memory.landmarks", landmarks);
  visit("memory.keys", keys);
  visit("memory.values", values);
  if (!remembers && landmarks.defined()) {
    if (!state.memory) state.memory = make_tensor_chunk_memory();
    state.memory->append(landmarks, keys, values);
  }
}

/// The entry `name` as a tensor; undefined where the file has none.
at::Tensor read_tensor(const SafetensorsFile& file, const std::map<std::string, std::string>& digests,
                       const std::string& name) {
  const auto found = file.entries().find(name);
  const auto digest = digests.find(name);
  if (found == file.entries().end() && digest == digests.end()) return {};
  if (found == file.entries().end() || digest == digests.end())
    fail_usage(file.path(), "does not belong to the index.json beside it", "save the session again");
  const SafetensorsEntry& entry = found->second;
  for (const TypeName& one : kTypeNames) {
    if (entry.dtype != one.name) continue;
    at::Tensor tensor = at::empty(entry.shape, one.type);
    std::memcpy(tensor.mutable_data_ptr(), entry.data, entry.size_bytes);
    if (digest_of(tensor) != digest->second)
      fail_usage(file.path(), name + " is damaged", "save the session again");
    return tensor;
  }
  fail_usage(file.path(), name + " is of type " + entry.dtype, "save the session again");
}

}  // namespace

void check_session_folder(const std::string& folder, const std::string& flag) {
  claim_output_folder(folder, kSessionFormat, kFiles, flag);
}

void save_session(const std::string& folder, const std::string& flag, const TextModel& model,
                  const TextSession& session) {
  const std::string path = claim_output_folder(folder, kSessionFormat, kFiles, flag);
  TextSession copy{session.state.clone(), session.last_hidden, session.drawn_tokens};
  std::vector<at::Tensor> alive;
  std::vector<SafetensorsTensor> tensors;
  std::map<std::string, std::string> digests;
  for_each_tensor(copy, [&](const std::string& name, at::Tensor& tensor) {
    if (!tensor.defined()) return;
    alive.push_back(tensor.to(at::kCPU).contiguous());
    const at::Tensor& dense = alive.back();
    tensors.push_back({name, name_of(dense.scalar_type()), dense.sizes().vec(), dense.const_data_ptr()});
    digests[name] = digest_of(dense);
  });
  replace_folder_atomically(path, [&](const std::string& aside) {
    write_safetensors(aside + "/session.safetensors", tensors, {{"format", "pt"}});
    SessionIndex index;
    index.position = copy.state.position;
    index.drawn_tokens = copy.drawn_tokens;
    index.windows = static_cast<int64_t>(copy.state.windows.size());
    index.groups = static_cast<int64_t>(copy.state.open_retrieval.size());
    index.dtype = name_of(model.model.compute_dtype());
    index.model = model_fingerprint(model.model);
    index.tokenizer = model.tokenizer.fingerprint();
    index.tensors = digests;
    write_session_index(aside + "/index.json", index);
  });
}

TextSession load_session(const std::string& folder, const TextModel& model, const MemoryPlace& place) {
  const SessionIndex index = read_session_index(folder + "/index.json");
  if (index.dtype != name_of(model.model.compute_dtype()))
    fail_usage(folder,
               fmt::format("was saved in {}, the model now computes in {}", index.dtype,
                           name_of(model.model.compute_dtype())),
               "give the --dtype of the run that saved it");
  if (!is_fingerprint_of(index.model, model.model))
    fail_usage(folder, "was saved with another model than " + model.folder,
               "give the checkpoint that saved it");
  model.require_tokenizer(index.tokenizer, folder);

  TextSession session;
  session.state.position = index.position;
  session.drawn_tokens = index.drawn_tokens;
  session.state.windows.resize(static_cast<size_t>(index.windows));
  session.state.open_retrieval.resize(static_cast<size_t>(index.groups));
  if (model.model.config().uses_retrieval())
    session.state.memory =
        std::make_unique<StoredChunkMemory>(model.model.config(), model.model.compute_dtype(), place);
  const SafetensorsFile file(folder + "/session.safetensors");
  for_each_tensor(session, [&](const std::string& name, at::Tensor& tensor) {
    tensor = read_tensor(file, index.tensors, name);
    if (tensor.defined()) tensor = tensor.to(model.model.device());
  });
  return session;
}

}  // namespace gca
