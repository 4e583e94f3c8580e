#pragma once

#include <string>

#include "lib/model/language_model.h"

namespace gca::model {

/// A digest of the configuration and every weight: what a model remembers is of use to it alone.
std::string model_fingerprint(const LanguageModel& model);

/// Also where gca 0.1.0 made the fingerprint.
bool is_fingerprint_of(const std::string& fingerprint, const LanguageModel& model);

}  // namespace gca::model
