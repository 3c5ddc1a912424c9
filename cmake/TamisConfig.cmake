# find_package(Tamis) gives the target tamis::tamis. The libraries below are what the static
# library itself calls; a user's own code needs none of their headers.
include(CMakeFindDependencyMacro)
list(APPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
find_dependency(Threads)
find_dependency(simdjson)
find_dependency(hwy)
find_dependency(OneDNN)
include(${CMAKE_CURRENT_LIST_DIR}/TamisTargets.cmake)
