# What the CUDA plug-in is built with, from the toolkit whose nvcc is found. Sets TAMIS_CUDA to
# whether all of it is there, and TAMIS_NVCC, TAMIS_CUDA_INCLUDE, TAMIS_CUDART, TAMIS_CUBLASLT.

find_program(TAMIS_NVCC nvcc PATHS /usr/local/cuda/bin)
if(TAMIS_NVCC)
  file(REAL_PATH ${TAMIS_NVCC} nvcc)
  cmake_path(GET nvcc PARENT_PATH toolkit)
  cmake_path(GET toolkit PARENT_PATH toolkit)
  find_path(TAMIS_CUDA_INCLUDE cublasLt.h HINTS ${toolkit}/include ${toolkit}/targets/x86_64-linux/include)
  find_library(TAMIS_CUDART cudart_static HINTS ${toolkit}/lib64)
  find_library(TAMIS_CUBLASLT cublasLt HINTS ${toolkit}/lib64)
endif()
if(TAMIS_NVCC AND TAMIS_CUDA_INCLUDE AND TAMIS_CUDART AND TAMIS_CUBLASLT)
  set(TAMIS_CUDA ON)
  message(STATUS "CUDA plug-in: with ${TAMIS_NVCC}")
else()
  set(TAMIS_CUDA OFF)
  message(STATUS "CUDA plug-in: not built, there is no nvcc with cudart_static and cublasLt")
endif()
