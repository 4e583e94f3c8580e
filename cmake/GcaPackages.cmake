# cpack: gca with the libraries of LibTorch that it needs, as a .deb for Debian 12 and as a .tar.gz that runs from anywhere on
# it. The CUDA kernels are left out: they need LibTorch's CUDA part and NVIDIA's libraries, some gigabytes.
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_NAME gca)
set(CPACK_PACKAGE_VENDOR "The gca authors")
set(CPACK_PACKAGE_CONTACT "The gca authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "language models that retrieve from their own past")
set(CPACK_PACKAGE_DESCRIPTION "Trains and runs language models with Grouped Cross-Attention (arXiv 2410.01651): chunks of\ntheir own \
past are chosen by a learned retriever and read by cross-attention.")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_COMPONENTS_ALL program)
if(GCA_INSTALL_LIBTORCH)
  list(APPEND CPACK_COMPONENTS_ALL libtorch)
endif()
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)  # of the .tar.gz
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
# dpkg-shlibdeps finds which packages hold the other libraries.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${GCA_TORCH_RPATH})
include(CPack)
