#pragma once
// Which folder a checkpoint argument means; no LibTorch.

#include <string>

namespace gca::model {

/// `folder` itself where it is a checkpoint, or the checkpoint of the run whose output folder it is. Throws
/// Error(usage) naming `where` when it is neither.
std::string find_checkpoint(const std::string& folder, const std::string& where);

}  // namespace gca::model
