# gca_embed_presets(TARGET file.json...): adds to TARGET a source, written at configure time, that defines
# gca::model::embedded_presets() (lib/model/presets.h). A changed file configures again.
function(gca_embed_presets target)
  set(entries "")
  foreach(file ${ARGN})
    set(path ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    if(NOT EXISTS ${path})
      message(WARNING "Preset ${path} is missing")
      continue()
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    file(READ ${path} text)
    get_filename_component(name ${file} NAME_WE)
    string(APPEND entries "    PresetText{\"${name}\", R\"json(${text})json\"},\n")
  endforeach()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/embedded_presets.cpp)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT [=[
// Written by cmake/GcaEmbedPresets.cmake.
#include "lib/model/presets.h"

#include <vector>

namespace gca::model {

std::span<const PresetText> embedded_presets() {
  static const std::vector<PresetText> kPresets = {
@entries@  };
  return kPresets;
}

}  // namespace gca::model
]=])
  target_sources(${target} PRIVATE ${source} ${PROJECT_SOURCE_DIR}/lib/model/presets.h)
endfunction()
