# What nearly every source parses, parsed once for all targets that ask for it: with LibTorch's headers, or without for
# libraries that know no tensors. GCC instantiates a precompiled header's pending templates again in each source, so each
# holds little: the more it holds, the slower each source is. (CLI11 belongs in neither: it
# costs a source that does not use it three seconds.)
# Sources still include what they use: they compile without this, too.
option(GCA_PRECOMPILE_HEADERS "Parse the headers of libraries once for all targets" ON)

# gca_add_precompiled_headers(NAME LIBRARIES... HEADERS <HEADER>...): an object library that others reuse the headers of.
function(gca_add_precompiled_headers name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS")
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/${name}.cpp CONTENT "// The one source of ${name}.\n")
  add_library(${name} OBJECT ${PROJECT_BINARY_DIR}/${name}.cpp)
  target_link_libraries(${name} PRIVATE gca_settings ${arg_UNPARSED_ARGUMENTS})
  target_precompile_headers(${name} PRIVATE ${arg_HEADERS})
endfunction()

# gca_precompile_headers(NAME TARGET...): those targets that exist use the headers of NAME.
function(gca_precompile_headers name)
  foreach(target ${ARGN})
    if(GCA_PRECOMPILE_HEADERS AND TARGET ${target})
      target_precompile_headers(${target} REUSE_FROM ${name})
    endif()
  endforeach()
endfunction()

if(GCA_PRECOMPILE_HEADERS)
  gca_add_precompiled_headers(gca_libtorch_pch libtorch_cpu HEADERS <nlohmann/json.hpp> <ATen/core/Tensor.h> <ATen/Context.h>)
  gca_add_precompiled_headers(gca_json_pch fmt::fmt nlohmann_json::nlohmann_json Threads::Threads
    HEADERS <nlohmann/json.hpp> <fmt/format.h> <filesystem> <fstream> <functional>)
endif()
