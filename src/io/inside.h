#pragma once

#include <filesystem>
#include <string_view>

namespace tamis::io {

/// directory / relative, for a path that was read from a file: an empty, absolute or climbing one
/// ("../x") could reach any file of the machine. Judged by its text alone: symbolic links are how
/// the Hugging Face cache stores its files. `where` and `what` name the source in the message.
/// Errors: data_loss.
std::filesystem::path path_inside(const std::filesystem::path& directory, std::string_view relative,
                                  std::string_view where, std::string_view what);

}  // namespace tamis::io
