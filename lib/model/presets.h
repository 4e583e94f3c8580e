#pragma once
// The named configurations that travel inside the binary: lib/model/presets/NAME.json, embedded by the build.

#include <span>

namespace gca::model {

struct PresetText {
  const char* name;  ///< what --config takes: "nano", "mini", ...
  const char* text;  ///< the JSON file, unchanged
};

/// In the order of size, smallest first.
std::span<const PresetText> embedded_presets();

}  // namespace gca::model
