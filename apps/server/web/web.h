#pragma once

#include <string_view>

namespace tamis::server {

/// The content of a file of this folder, as it was when the program was built; empty if there is
/// none of that name.
std::string_view web_file(std::string_view name);

}  // namespace tamis::server
