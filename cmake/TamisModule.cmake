# Helpers of the build: one OBJECT library a folder under src/, one executable a test file.

add_library(tamis_options INTERFACE)
target_compile_options(tamis_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
  $<$<BOOL:${TAMIS_WERROR}>:-Werror>)
# Header-only, so that the installed library asks for no libfmt. Under sanitizers, which are not
# installed, that would take four times as long to compile.
set(TAMIS_FMT fmt::fmt-header-only)
if(TAMIS_SANITIZE)
  set(TAMIS_FMT fmt::fmt)
  target_compile_options(tamis_options INTERFACE -fsanitize=${TAMIS_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer
    # GCC's manual: instrumented code gives this warning where nothing is wrong. Here g++ 12 gives it
    # for every std::stop_source on the stack; the release build keeps it.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(tamis_options INTERFACE -fsanitize=${TAMIS_SANITIZE})
endif()
target_include_directories(tamis_options INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)

# tamis_module(NAME SOURCES a.cc b.cc [LIBRARIES lib...])
# Adds the folder's objects to the library `tamis`; LIBRARIES are what these files call themselves.
function(tamis_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_library(tamis_${name} OBJECT ${ARG_SOURCES})
  target_link_libraries(tamis_${name} PUBLIC tamis_options PRIVATE ${ARG_LIBRARIES} ${TAMIS_FMT})
  set_property(GLOBAL APPEND PROPERTY TAMIS_MODULES tamis_${name})
endfunction()

# tamis_test(NAME SOURCES a_test.cc [MODULES base io ...] [LIBRARIES ...] [DEFINES ...])
# A GoogleTest executable. With MODULES it is built from those folders alone, else from all of `tamis`.
function(tamis_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;MODULES;LIBRARIES;DEFINES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  if(ARG_MODULES)
    foreach(module IN LISTS ARG_MODULES)
      target_sources(${name} PRIVATE $<TARGET_OBJECTS:tamis_${module}>)
    endforeach()
    target_link_libraries(${name} PRIVATE tamis_options tamis_dependencies)
  else()
    target_link_libraries(${name} PRIVATE tamis_options tamis)
  endif()
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} ${TAMIS_FMT} GTest::gtest_main)
  # Tests: compile time counts. g++ 12 sees overlaps in std::string's code that are not there.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
  target_compile_definitions(${name} PRIVATE ${ARG_DEFINES}
    TAMIS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  set_property(GLOBAL APPEND PROPERTY TAMIS_TEST_PROGRAMS ${name})
endfunction()

# What the objects of every module need at link time.
add_library(tamis_dependencies INTERFACE)
target_link_libraries(tamis_dependencies INTERFACE
  simdjson::simdjson hwy::hwy Threads::Threads ${CMAKE_DL_LIBS})
