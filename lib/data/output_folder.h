#pragma once
// Which folders a stage may replace: new ones, empty ones, and those an earlier run of the same stage wrote.

#include <span>
#include <string>

namespace gca::data {

/// `flag` is what errors name. The folder to write, absolute and without symbolic links. Throws Error(usage)
/// when `folder` exists and is not an empty folder and no folder of `format` ("gca.tokens/1") that holds nothing
/// but files beginning with one of `own_names`.
std::string claim_output_folder(const std::string& folder, const std::string& format,
                                std::span<const char* const> own_names, const std::string& flag = "--output");

}  // namespace gca::data
