#pragma once

// Checks that the readers of foreign files share.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "numeric/tensor_view.h"

namespace tamis::io {

/// directory / relative, for a path that was read from a file: an empty, absolute or climbing one
/// ("../x") could reach any file of the machine. Judged by its text alone: symbolic links are how
/// the Hugging Face cache stores its files. `where` and `what` name the source in the message.
/// Errors: data_loss.
std::filesystem::path path_inside(const std::filesystem::path& directory, std::string_view relative,
                                  std::string_view where, std::string_view what);

/// A clone without git-lfs leaves a text file of three lines where the weights should be.
/// Errors: data_loss, saying what to do.
void refuse_lfs_pointer(std::span<const std::byte> file, std::string_view where);

/// `tensors` are sorted by name. Errors: data_loss.
void refuse_duplicate_names(const std::vector<TensorView>& tensors, std::string_view where);

/// Foreign bytes for a message: at most 80, anything but printable ASCII becomes '?'.
std::string printable(std::string_view text);

}  // namespace tamis::io
