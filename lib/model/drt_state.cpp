#include "lib/model/drt_state.h"

namespace gca {

DrtState DrtState::clone() const {
  DrtState copy;
  copy.position = position;
  for (const WindowCache& window : windows) copy.windows.push_back(window.clone());
  // The open chunk and the open retrieval are replaced, never written in place: sharing them is safe.
  copy.open_chunk = open_chunk;
  copy.open_retrieval = open_retrieval;
  if (memory) copy.memory = memory->clone();
  return copy;
}

}  // namespace gca
