# find_package(Tamis) gives the target tamis::tamis. The libraries below are what the static
# library itself calls; a user's own code needs none of their headers.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(simdjson)
find_dependency(hwy)
include(${CMAKE_CURRENT_LIST_DIR}/TamisTargets.cmake)
