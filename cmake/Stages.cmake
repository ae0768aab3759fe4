# Stages. A stage is one folder src/codec/<group>/<name>/ whose CMakeLists.txt is one line,
#     kvsplice_add_stage(<group> <name>)
# Its files *_fit.cc are what it learns by, and belong to kvsplice_fit; the others code, and belong to
# the library. From the folders come the library's stage_table.cc, fitting's stage_fit_table.cc and
# the tests' stage_cases.cc: explicit calls, no list kept by hand, no registrar objects for the linker
# to drop.

set(KVSPLICE_STAGE_GROUPS predict warp transform quantise entropy)

# Takes the sources of stages out of a list: kvsplice_add_stage adds them itself.
macro(kvsplice_drop_stage_sources list)
  list(JOIN KVSPLICE_STAGE_GROUPS "|" groups)
  list(FILTER ${list} EXCLUDE REGEX "/codec/(${groups})/")
endmacro()

# Called by src/codec/CMakeLists.txt. The globs are sorted, so the tables are in group, name order.
function(kvsplice_add_stages)
  set_property(GLOBAL PROPERTY KVSPLICE_STAGES "")
  set_property(GLOBAL PROPERTY KVSPLICE_STAGE_FITS "")
  if(KVSPLICE_PROGRAM)
    add_library(kvsplice_stage_cases STATIC)
    target_link_libraries(kvsplice_stage_cases PUBLIC kvsplice PRIVATE kvsplice_warnings)
  endif()
  foreach(group ${KVSPLICE_STAGE_GROUPS})
    file(GLOB folders CONFIGURE_DEPENDS LIST_DIRECTORIES true ${group}/*)
    # A second glob makes an added CMakeLists.txt alone start a new configure.
    file(GLOB ignored CONFIGURE_DEPENDS ${group}/*/CMakeLists.txt)
    foreach(folder ${folders})
      if(IS_DIRECTORY ${folder})
        kvsplice_need_file(${folder} CMakeLists.txt)
        add_subdirectory(${folder})
      endif()
    endforeach()
  endforeach()
  get_property(stages GLOBAL PROPERTY KVSPLICE_STAGES)
  kvsplice_write_table(kvsplice codec stage_table StageInfo stage "codec/stage.h" "${stages}")
  if(KVSPLICE_PROGRAM)
    get_property(fits GLOBAL PROPERTY KVSPLICE_STAGE_FITS)
    kvsplice_write_table(
      kvsplice_fit codec stage_fit_table StageFit fit "fit/stage_fit.h" "${fits}")
    kvsplice_write_table(
      kvsplice_stage_cases codec stage_cases StageCase case "codec/stage_case.h" "${stages}")
  endif()
endfunction()

function(kvsplice_add_stage group name)
  set(folder ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT folder STREQUAL "${PROJECT_SOURCE_DIR}/src/codec/${group}/${name}")
    message(FATAL_ERROR "kvsplice_add_stage(${group} ${name}) does not stand in codec/${group}/${name}")
  endif()
  kvsplice_need_file(${folder} spec.md)
  kvsplice_need_file(${folder} ${name}_case.cc)
  get_property(stages GLOBAL PROPERTY KVSPLICE_STAGES)
  if(name IN_LIST stages)
    message(FATAL_ERROR "two stages are called ${name}; a name is used once, whatever the group")
  endif()
  set_property(GLOBAL APPEND PROPERTY KVSPLICE_STAGES ${name})
  kvsplice_glob_library(sources ${folder})
  set(fits ${sources})
  list(FILTER fits INCLUDE REGEX "_fit\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_fit\\.cc$")
  target_sources(kvsplice PRIVATE ${sources})
  if(NOT KVSPLICE_PROGRAM)
    return()
  endif()
  target_sources(kvsplice_fit PRIVATE ${fits})
  if(EXISTS ${folder}/${name}_fit.cc)
    set_property(GLOBAL APPEND PROPERTY KVSPLICE_STAGE_FITS ${name})
  endif()
  target_sources(kvsplice_stage_cases PRIVATE ${folder}/${name}_case.cc)
endfunction()

function(kvsplice_need_file folder file)
  if(NOT EXISTS ${folder}/${file})
    message(FATAL_ERROR "the stage folder ${folder} has no ${file}")
  endif()
endfunction()
