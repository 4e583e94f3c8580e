# gca_settings: what every target of ours is compiled with.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
# -O3 is for the kernels, which ask for it; elsewhere it only takes time to compile.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(GCA_CCACHE ccache)
if(GCA_CCACHE)
  # The two allowances are what ccache needs to store files that use a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${GCA_CCACHE})
endif()

add_library(gca_settings INTERFACE)
target_include_directories(gca_settings INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(gca_settings INTERFACE -Wall -Wextra -Wshadow -Wno-unknown-pragmas)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(gca_settings INTERFACE -Wno-restrict)  # false alarms on std::string operator+ (GCC bug 105651)
endif()
if(GCA_WARNINGS_AS_ERRORS)
  target_compile_options(gca_settings INTERFACE -Werror)
endif()
# A sum of floats has one order, whatever the optimiser: results must not depend on the build.
target_compile_options(gca_settings INTERFACE -ffp-contract=off)
# `#pragma omp simd` says where a sum may be reordered into lanes; no OpenMP runtime comes with it.
target_compile_options(gca_settings INTERFACE -fopenmp-simd)
find_program(GCA_LLD ld.lld)
if(GCA_LLD)
  target_link_options(gca_settings INTERFACE -fuse-ld=lld)
endif()

set(GCA_SANITIZE "" CACHE STRING "Sanitizers to compile with, such as address,undefined")
if(GCA_SANITIZE)
  # A finding ends the program. LibTorch is not compiled so: types of its objects cannot be looked at.
  target_compile_options(gca_settings INTERFACE -fsanitize=${GCA_SANITIZE} -fno-omit-frame-pointer -g1
    -fno-sanitize-recover=all -fno-sanitize=vptr)
  target_link_options(gca_settings INTERFACE -fsanitize=${GCA_SANITIZE})
endif()
set(GCA_SANITIZE_COVERAGE "" CACHE STRING "fuzzer-no-link: coverage for libFuzzer")
if(GCA_SANITIZE_COVERAGE)
  target_compile_options(gca_settings INTERFACE -fsanitize=${GCA_SANITIZE_COVERAGE})
endif()
