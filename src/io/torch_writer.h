#pragma once

// Writing a torch zip archive, as torch.save does of a dict of tensors: what FlagEmbedding keeps
// BGE-M3's heads in.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "numeric/tensor_view.h"

namespace tamis::io {

/// {name: tensor}, f32, readable by torch.load (also with weights_only) and by parse_torch_zip.
/// Errors: as FileWriter; internal (another dtype, or 4 GiB and more).
void write_torch_dict(const std::filesystem::path& path, const std::vector<TensorView>& tensors);

}  // namespace tamis::io
