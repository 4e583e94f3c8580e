# nvcc, where there is one: the CUDA kernels as a device library and as PTX for the tests. The CPU build needs none of it.
# Objects come from custom commands: CMake's own CUDA language would demand a toolkit that can link, which the wheels are not.
find_program(GCA_NVCC nvcc
  HINTS ${PROJECT_SOURCE_DIR}/.deps/cuda/nvidia/cu13/bin /usr/local/cuda/bin
  DOC "CUDA compiler")
if(GCA_NVCC)
  set(gca_have_nvcc ON)
else()
  set(gca_have_nvcc OFF)
endif()
option(GCA_CUDA "Build the CUDA kernels (needs nvcc, no GPU)" ${gca_have_nvcc})
if(GCA_CUDA AND NOT GCA_NVCC)
  message(FATAL_ERROR "GCA_CUDA is on and nvcc was not found: set GCA_NVCC to its path, or GCA_CUDA to OFF")
endif()
message(STATUS "CUDA kernels: ${GCA_CUDA} (${GCA_NVCC})")

set(GCA_NVCC_FLAGS -std=c++20 -O3 -lineinfo -I ${PROJECT_SOURCE_DIR} -diag-suppress 177)

# What the device library holds: code for A100, H100 and B200.
set(GCA_CUDA_ARCHITECTURES
  -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_100,code=sm_100)

# gca_compile_cuda(OUTPUT SOURCE flag...): OUTPUT from SOURCE by nvcc, again when a header it includes changes. What nvcc says
# (the assembler's registers and spills with -Xptxas -v) goes into OUTPUT.txt, and to the screen where it fails.
function(gca_compile_cuda output source)
  cmake_path(GET output PARENT_PATH folder)
  file(MAKE_DIRECTORY ${folder})
  set(log ${output}.txt)
  add_custom_command(OUTPUT ${output} BYPRODUCTS ${log}
    COMMAND sh -c "\"$@\" 2> ${log} || { cat ${log} >&2; exit 1; }" nvcc
      ${GCA_NVCC} ${GCA_NVCC_FLAGS} ${ARGN} -MD -MF ${output}.d -MT ${output} -o ${output} ${source}
    DEPENDS ${source} DEPFILE ${output}.d COMMENT "nvcc ${output}" VERBATIM)
endfunction()

# The runtime that the device library is compiled and linked against: of the toolkit that nvcc belongs to.
if(GCA_CUDA)
  cmake_path(GET GCA_NVCC PARENT_PATH gca_nvcc_folder)
  find_path(GCA_CUDA_INCLUDE cuda_runtime_api.h HINTS ${gca_nvcc_folder}/../include REQUIRED NO_DEFAULT_PATH)
  find_library(GCA_CUDART NAMES cudart libcudart.so.13 libcudart.so.12
    HINTS ${gca_nvcc_folder}/../lib ${gca_nvcc_folder}/../lib64 REQUIRED NO_DEFAULT_PATH)
  # For messages between GPUs: NCCL's header, and those of CUDA's libraries, which LibTorch's of it include. A toolkit has
  # them, and the wheels that ./dev cuda puts beside LibTorch; without them, the device library cannot serve several ranks.
  file(GLOB gca_torch_cuda_include ${GCA_TORCH_ROOT}/../nvidia/cu*/include)
  find_path(GCA_NCCL_INCLUDE nccl.h HINTS ${GCA_CUDA_INCLUDE} ${GCA_TORCH_ROOT}/../nvidia/nccl/include NO_DEFAULT_PATH)
  find_path(GCA_CUSPARSE_INCLUDE cusparse.h HINTS ${GCA_CUDA_INCLUDE} ${gca_torch_cuda_include} NO_DEFAULT_PATH)
  set(GCA_NCCL OFF)
  if(GCA_NCCL_INCLUDE AND GCA_CUSPARSE_INCLUDE)
    set(GCA_NCCL ON)
  endif()
  message(STATUS "Messages between GPUs: ${GCA_NCCL} (${GCA_NCCL_INCLUDE})")
endif()
