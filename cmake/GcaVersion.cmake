# gca_add_version(TARGET): adds to TARGET a source that defines gca::program_version() (apps/gca/version.h). Every build asks
# git which state of the source tree it builds; the source is written again, and TARGET linked again, only when the answer
# differs. Only the programs link TARGET, so a commit does not link the tests again.
function(gca_add_version target)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/program_version.cpp)
  add_custom_target(${target}_version BYPRODUCTS ${source} COMMENT "Version of the sources" COMMAND ${CMAKE_COMMAND}
    -D VERSION=${PROJECT_VERSION} -D SOURCE_DIR=${PROJECT_SOURCE_DIR} -D OUTPUT=${source}
    -P ${PROJECT_SOURCE_DIR}/cmake/write_version.cmake)
  add_dependencies(${target} ${target}_version)
  target_sources(${target} PRIVATE ${source})
endfunction()
