#pragma once

#include <span>
#include <string>

#include "lib/text/tokenizer.h"

namespace gca::text {

/// The text that a vocabulary is learned from: all documents of the files where they are no longer than
/// training.sample_bytes, else blocks at even distances over them, each at a place within its stride that the
/// seed turns and without the words that its borders cut. The files are read twice: first for their length.
std::string sample_text(std::span<const std::string> paths, const TokenizerTraining& training);

}  // namespace gca::text
