#pragma once
// What --version and every report name: defined by a source that each build writes (cmake/GcaVersion.cmake).

namespace gca::app {

/// What `git describe` says of the source tree, such as "0.1.0-12-g1a2b3c4" or "0.1.0-g1a2b3c4-dirty"; the
/// version of the project, "0.1.0", where it was built outside git.
const char* program_version();

}  // namespace gca::app
