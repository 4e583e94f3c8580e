#include "lib/model/backbones/gca/gca_past.h"

#include <algorithm>

namespace gca::model {

std::unique_ptr<Past> GcaPast::clone() const {
  auto copy = std::make_unique<GcaPast>(position_, 0, 0);
  copy->windows = clones_of(windows);
  // The open chunk and the open retrieval are replaced, never written in place: sharing them is safe.
  copy->open_chunk = open_chunk;
  copy->open_retrieval = open_retrieval;
  copy->told = told;
  copy->memory_ = memory_->clone();
  return copy;
}

int64_t GcaPast::size_bytes() const {
  int64_t bytes =
      gca::model::size_bytes(open_chunk) + gca::model::size_bytes(windows) + memory_->size_bytes();
  for (const OpenRetrieval& open : open_retrieval)
    bytes += gca::model::size_bytes(open.idx) + gca::model::size_bytes(open.weights);
  return bytes;
}

void GcaPast::visit(const Visitor& visitor) {
  visitor("open_chunk", open_chunk);
  for (size_t g = 0; g < open_retrieval.size(); ++g) {
    const std::string name = "open_retrieval." + std::to_string(g);
    visitor(name + ".idx", open_retrieval[g].idx);
    visitor(name + ".weights", open_retrieval[g].weights);
  }
  visit_windows(windows, visitor);
  visit_chunk_memory(*memory_, visitor);
}

std::vector<Choices> GcaPast::choices() const {
  std::vector<Choices> choices;
  for (size_t g = 0; g < open_retrieval.size(); ++g) {
    const OpenRetrieval& open = open_retrieval[g];
    if (!open.idx.defined()) return {};
    choices.push_back(told[g].idx.defined() ? told[g] : Choices{open.idx, open.weights, {}, {}});
  }
  return choices;
}

void GcaPast::leave_out_upper(size_t lower_layers) {
  std::fill(windows.begin() + static_cast<std::ptrdiff_t>(lower_layers), windows.end(), WindowCache());
  open_retrieval.assign(open_retrieval.size(), {});
  forget_told();
}

}  // namespace gca::model
