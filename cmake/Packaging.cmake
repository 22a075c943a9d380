# What is installed, and the Debian packages made of it: outrider (program, service) and outrider-dev (library).

# Completions and manual page are printed by the program, so they are as it is.
find_program(GZIP gzip REQUIRED)
set(generated ${CMAKE_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${generated})
foreach(shell bash zsh fish)
  add_custom_command(OUTPUT ${generated}/outrider.${shell} VERBATIM DEPENDS outrider_bin
                     COMMAND outrider_bin completion ${shell} > ${generated}/outrider.${shell})
endforeach()
add_custom_command(OUTPUT ${generated}/outrider.1.gz VERBATIM DEPENDS outrider_bin
                   COMMAND outrider_bin man-page > ${generated}/outrider.1
                   COMMAND ${GZIP} -9nf ${generated}/outrider.1)
add_custom_target(outrider_generated ALL DEPENDS ${generated}/outrider.bash ${generated}/outrider.zsh
                  ${generated}/outrider.fish ${generated}/outrider.1.gz)

install(TARGETS outrider_bin RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
install(FILES ${generated}/outrider.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
set(completions ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${generated}/outrider.bash DESTINATION ${completions} RENAME outrider COMPONENT runtime)
set(completions ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${generated}/outrider.zsh DESTINATION ${completions} RENAME _outrider COMPONENT runtime)
set(completions ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES ${generated}/outrider.fish DESTINATION ${completions} COMPONENT runtime)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT license)  # Debian has it as `copyright`

# find_package(outrider) gives the target outrider::outrider.
install(TARGETS outrider_lib EXPORT outriderTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
install(DIRECTORY outrider/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/outrider COMPONENT dev FILES_MATCHING PATTERN "*.h"
        PATTERN "testing" EXCLUDE PATTERN "cli" EXCLUDE)
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${generated}/outriderConfigVersion.cmake COMPATIBILITY SameMinorVersion)
set(config_directory ${CMAKE_INSTALL_LIBDIR}/cmake/outrider)
install(EXPORT outriderTargets NAMESPACE outrider:: DESTINATION ${config_directory} COMPONENT dev)
install(FILES cmake/outriderConfig.cmake ${generated}/outriderConfigVersion.cmake DESTINATION ${config_directory}
        COMPONENT dev)

# Of the package alone: these are no paths below a prefix.
install(FILES packaging/outrider.service DESTINATION /lib/systemd/system COMPONENT runtime EXCLUDE_FROM_ALL)
install(FILES packaging/outrider.default DESTINATION /etc/default RENAME outrider COMPONENT runtime EXCLUDE_FROM_ALL
        PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ)  # it may hold the API key
install(FILES packaging/debian/lintian-overrides DESTINATION /usr/share/lintian/overrides RENAME outrider
        COMPONENT runtime EXCLUDE_FROM_ALL)
file(WRITE ${generated}/changelog "outrider (${PROJECT_VERSION}) unstable; urgency=medium\n\n  * Version ${PROJECT_VERSION}.\n\n"
     " -- ${OUTRIDER_PACKAGE_CONTACT}  Thu, 01 Jan 2026 00:00:00 +0000\n")
add_custom_command(OUTPUT ${generated}/changelog.gz VERBATIM
                   COMMAND ${GZIP} -9nc ${generated}/changelog > ${generated}/changelog.gz)
add_custom_target(outrider_changelog ALL DEPENDS ${generated}/changelog.gz)
foreach(part "runtime;outrider" "dev;outrider-dev")
  list(GET part 0 component)
  list(GET part 1 package)
  set(directory /usr/share/doc/${package})
  install(FILES packaging/debian/copyright DESTINATION ${directory} COMPONENT ${component} EXCLUDE_FROM_ALL)
  install(FILES ${generated}/changelog.gz DESTINATION ${directory} COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME outrider)
set(CPACK_PACKAGE_CONTACT "${OUTRIDER_PACKAGE_CONTACT}")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "inference engine for DeepSeek-V4")
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
    WORLD_EXECUTE)
set(CPACK_COMPONENTS_ALL runtime dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME outrider)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION net)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "Runs DeepSeek-V4 checkpoints, drafting with their own MTP head, and serves\n\
them over OpenAI's API. A checkpoint that is not complete is refused, with a\n\
list of all that it lacks; outrider check tells beforehand.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/debian/conffiles
    ${CMAKE_SOURCE_DIR}/packaging/debian/postinst ${CMAKE_SOURCE_DIR}/packaging/debian/prerm
    ${CMAKE_SOURCE_DIR}/packaging/debian/postrm)
set(CPACK_DEBIAN_DEV_PACKAGE_NAME outrider-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libfmt-dev, nlohmann-json3-dev, libsimdjson-dev, libpcre2-dev, libicu-dev, \
libboost-dev, libssl-dev, prometheus-cpp-dev, pkg-config")
set(CPACK_COMPONENT_DEV_DESCRIPTION "The static library that the program outrider is made of, its headers, and\n\
what CMake's find_package(outrider) reads.")
include(CPack)
