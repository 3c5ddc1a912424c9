#pragma once

namespace tamis::cli {

/// The whole tool; returns the exit status. See program.cc for what each status means.
int run_program(int argc, const char* const* argv);

}  // namespace tamis::cli
