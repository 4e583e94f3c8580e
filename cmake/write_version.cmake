# cmake -D VERSION=1.2.3 -D SOURCE_DIR=DIR -D OUTPUT=FILE.cpp -P write_version.cmake
# Writes the definition of gca::app::program_version(): `git describe` of SOURCE_DIR, "1.2.3-g<commit>" where no tag names a
# version, or VERSION where SOURCE_DIR is not a git checkout (an unpacked tarball) or git is missing.
set(version ${VERSION})
if(EXISTS ${SOURCE_DIR}/.git)  # not the repository of a folder around it
  execute_process(COMMAND git describe --tags --match "v[0-9]*" --dirty
    WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE tagged OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(tagged)
    string(REGEX REPLACE "^v" "" version ${tagged})
  else()
    execute_process(COMMAND git describe --always --exclude "*" --dirty
      WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(commit)
      set(version ${VERSION}-g${commit})
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [=[
// Written by cmake/write_version.cmake.
#include "apps/gca/version.h"

namespace gca::app {

const char* program_version() {
  return "@version@";
}

}  // namespace gca::app
]=])
