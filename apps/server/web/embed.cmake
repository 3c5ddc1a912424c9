# cmake -DFOLDER=<dir> -DOUT=<file.cc> -P embed.cmake
# Writes web_file (web.h) with the content of FOLDER's html, css, js and json files.
file(GLOB files ${FOLDER}/*.html ${FOLDER}/*.css ${FOLDER}/*.js ${FOLDER}/*.json ${FOLDER}/*.svg)
list(SORT files)
set(arrays "")
set(cases "")
set(n 0)
foreach(path IN LISTS files)
  file(READ ${path} hex HEX)
  if(hex STREQUAL "")
    continue()
  endif()
  get_filename_component(name ${path} NAME)
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  string(APPEND arrays "constexpr unsigned char kFile${n}[] = {\n${hex}};\n")
  string(APPEND cases "  if (name == \"${name}\") return view(kFile${n});\n")
  math(EXPR n "${n} + 1")
endforeach()
set(text "// Generated from the files of apps/server/web.
#include \"web/web.h\"

#include <cstddef>

namespace tamis::server {
namespace {

template <size_t n>
std::string_view view(const unsigned char (&bytes)[n]) {
  return {reinterpret_cast<const char*>(bytes), n};
}

${arrays}
}  // namespace

std::string_view web_file(std::string_view name) {
${cases}  return {};
}

}  // namespace tamis::server
")
file(WRITE ${OUT} "${text}")
