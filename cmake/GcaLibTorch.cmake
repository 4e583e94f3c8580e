# libtorch_cpu: LibTorch's headers, torch_cpu and c10. The wheel's own TorchConfig.cmake demands a CUDA toolkit; these
# imported targets do not. CMAKE_PREFIX_PATH may name another LibTorch (a folder with include/ and lib/); the project's
# own is what `./dev build` put into .deps.
find_path(GCA_TORCH_ROOT NAMES lib/libtorch_cpu.so
  HINTS ${CMAKE_PREFIX_PATH}
  PATHS ${PROJECT_SOURCE_DIR}/.deps/site/torch
  PATH_SUFFIXES torch libtorch ../..
  NO_CMAKE_SYSTEM_PATH NO_CMAKE_FIND_ROOT_PATH)
if(NOT GCA_TORCH_ROOT)
  message(FATAL_ERROR "LibTorch not found: run ./dev build, or pass -DCMAKE_PREFIX_PATH=/path/to/libtorch")
endif()
message(STATUS "LibTorch: ${GCA_TORCH_ROOT}")

add_library(libtorch_cpu INTERFACE)
target_include_directories(libtorch_cpu SYSTEM INTERFACE
  ${GCA_TORCH_ROOT}/include ${GCA_TORCH_ROOT}/include/torch/csrc/api/include)
target_link_libraries(libtorch_cpu INTERFACE ${GCA_TORCH_ROOT}/lib/libtorch_cpu.so ${GCA_TORCH_ROOT}/lib/libc10.so)
# at::parallel_for is a template over OpenMP: without it, it runs in the caller's thread.
# (As flags: LibTorch brings its own libgomp, which then serves both.)
find_package(OpenMP REQUIRED COMPONENTS CXX)
target_compile_options(libtorch_cpu INTERFACE ${OpenMP_CXX_FLAGS})
target_link_options(libtorch_cpu INTERFACE ${OpenMP_CXX_FLAGS})

# The wheel's libraries need libcudart and libcupti at run time, also where no GPU is: from the toolkit, or from the small
# wheels beside LibTorch.
set(GCA_TORCH_RPATH ${GCA_TORCH_ROOT}/lib)
file(GLOB GCA_CUDA_RUNTIME_DIRS ${GCA_TORCH_ROOT}/../nvidia/cu*/lib)
list(APPEND GCA_TORCH_RPATH ${GCA_CUDA_RUNTIME_DIRS})
target_link_options(libtorch_cpu INTERFACE "-Wl,--allow-shlib-undefined")
# Then the project's own device library (lib/device).
set(CMAKE_BUILD_RPATH ${GCA_TORCH_RPATH} ${PROJECT_BINARY_DIR}/kernels)

# An installed program looks beside itself. With GCA_INSTALL_LIBTORCH the installation has LibTorch there and depends on no
# other folder; without, it goes on using the LibTorch that it was built with, where that lies.
option(GCA_INSTALL_LIBTORCH "Install the libraries of LibTorch that gca needs (the component libtorch)" ON)
set(CMAKE_INSTALL_RPATH $ORIGIN)
if(NOT GCA_INSTALL_LIBTORCH)
  list(APPEND CMAKE_INSTALL_RPATH ${GCA_TORCH_RPATH})
endif()

# gca_install_libtorch(SET): installs the libraries of a runtime dependency set that are not the system's, with their licences.
function(gca_install_libtorch dependencies)
  if(NOT GCA_INSTALL_LIBTORCH)
    return()
  endif()
  include(GNUInstallDirs)
  install(RUNTIME_DEPENDENCY_SET ${dependencies} DIRECTORIES ${GCA_TORCH_RPATH} POST_EXCLUDE_REGEXES "^/lib" "^/usr/lib"
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/gca COMPONENT libtorch)
  file(GLOB licences RELATIVE ${GCA_TORCH_ROOT}/.. ${GCA_TORCH_ROOT}/../*.dist-info/licenses)
  foreach(folder ${licences})
    string(REGEX REPLACE "-.*" "" name ${folder})
    install(DIRECTORY ${GCA_TORCH_ROOT}/../${folder}/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/licenses/${name} COMPONENT libtorch)
  endforeach()
endfunction()

# <ATen/Functions.h> declares two thousand operators; sources include <ATen/ops/NAME.h> for those they call.
target_compile_definitions(libtorch_cpu INTERFACE AT_PER_OPERATOR_HEADERS)
