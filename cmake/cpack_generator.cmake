# Read by cpack for each generator: the .tar.gz has a folder of its own, the .deb begins at the root of the system.
if(CPACK_GENERATOR STREQUAL "TGZ")
  set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)
endif()
