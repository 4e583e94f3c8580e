#pragma once
// A text that was read and may be gone on with: kept in memory between calls, or in a folder between runs.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/memory/chunk_store.h"
#include "lib/model/text_model.h"

namespace gca::generate {

/// Begins as the empty text.
struct TextSession {
  std::unique_ptr<model::Past> past;  ///< null: a new one
  at::Tensor last_hidden;             ///< (1, 1, d) after the last text token; undefined for the empty text
  int64_t drawn_tokens = 0;  ///< tokens of the text that were drawn: the next is drawn by this number

  /// A copy that later texts of either do not change; chunk memory is shared, what either adds is in RAM.
  TextSession clone() const { return {past ? past->clone() : nullptr, last_hidden, drawn_tokens}; }
};

/// Checks that `folder` can be written: new, empty, or one that save_session() wrote. `flag` is what errors
/// name. Throws Error(usage).
void check_session_folder(const std::string& folder, const std::string& flag);

/// Writes `folder` aside and puts it in place: session.safetensors and index.json (sealed, "gca.session/1").
/// `policy`: of the cache of a model that has one.
void save_session(const std::string& folder, const std::string& flag, const model::TextModel& model,
                  const TextSession& session, const model::KvPolicy& policy = {});

/// Chunk memory goes to `place`. Throws Error(usage) when a file is missing or damaged, or when the session
/// is of another model or type.
/// `policy`: of the cache of a model that has one; the one that the session was saved with.
TextSession load_session(const std::string& folder, const model::TextModel& model,
                         const model::MemoryPlace& place = {}, const model::KvPolicy& policy = {});

}  // namespace gca::generate
