# gca_embed_text(TARGET FILE NAMESPACE NAME): adds to TARGET a source, written at configure time, that defines
# `extern const std::string_view NAMESPACE::NAME`, the text of FILE. A changed file configures again.
function(gca_embed_text target file namespace name)
  set(path ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  file(READ ${path} text)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT [=[
// Written by cmake/GcaEmbedText.cmake.
#include <string_view>

namespace @namespace@ {

extern const std::string_view @name@;
const std::string_view @name@ = R"embedded(@text@)embedded";

}  // namespace @namespace@
]=])
  target_sources(${target} PRIVATE ${source})
endfunction()
