#pragma once

#include <string_view>

/// Multiply-adds on registers alone, independent of each other: the most that a core can do.
/// Returns the floating point operations done, some ten million.
using FmaLoop = double (*)();

/// The loop of an instruction set of tamis::kernels::KernelTable; null if this CPU cannot run it.
FmaLoop find_fma_loop(std::string_view isa);
