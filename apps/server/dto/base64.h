#pragma once

#include <span>
#include <string>

namespace tamis::server {

/// RFC 4648, with padding, of the numbers as f32 with the lowest byte first.
std::string base64(std::span<const float> values);

}  // namespace tamis::server
