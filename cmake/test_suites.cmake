# add_test_suites(TARGET [LONG regex] [PROPERTIES name value...])
#
# A test of ctest's for each suite of a GoogleTest program, named like the suite: tools/run_suite runs its cases in one
# process, which loads a model once. The suites are listed after the program is linked. Suites whose names match LONG
# start first, so that the last one does not run alone.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(test_suites_script ${CMAKE_CURRENT_LIST_FILE})
  set(test_suites_runner ${CMAKE_SOURCE_DIR}/tools/run_suite)

  function(add_test_suites target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "LONG" "PROPERTIES")
    set(tests ${CMAKE_CURRENT_BINARY_DIR}/${target}_suites.cmake)
    add_custom_command(
      TARGET ${target} POST_BUILD VERBATIM
      BYPRODUCTS ${tests}
      COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${target}> -DOUTPUT=${tests} -DRUNNER=${test_suites_runner}
              "-DLONG=${arg_LONG}" "-DPROPERTIES=${arg_PROPERTIES}" -P ${test_suites_script})
    # A program that is not built is a test that fails.
    set(include ${CMAKE_CURRENT_BINARY_DIR}/${target}_include.cmake)
    file(WRITE ${include} "if(EXISTS \"${tests}\")\n  include(\"${tests}\")\nelse()\n  add_test(${target}_NOT_BUILT \
${target}_NOT_BUILT)\nendif()\n")
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include})
  endfunction()
  return()
endif()

execute_process(COMMAND ${PROGRAM} --gtest_list_tests OUTPUT_VARIABLE listed TIMEOUT 60 COMMAND_ERROR_IS_FATAL ANY)
string(REGEX REPLACE "\n +[^\n]*" "" listed "${listed}")  # the cases
string(REGEX MATCHALL "[^ \n]+\\.( +#[^\n]*)?\n" suites "${listed}\n")
set(script "")
foreach(suite IN LISTS suites)
  string(REGEX REPLACE "\\.( +#.*)?\n$" "" suite "${suite}")
  set(cost 0)
  if(LONG AND suite MATCHES "${LONG}")
    set(cost 1000)
  endif()
  string(APPEND script "add_test([=[${suite}]=] \"${RUNNER}\" \"${PROGRAM}\" [=[${suite}]=])\n"
                       "set_tests_properties([=[${suite}]=] PROPERTIES COST ${cost} ${PROPERTIES})\n")
endforeach()
file(WRITE ${OUTPUT} "${script}")
