#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "numeric/tensor_view.h"

namespace tamis::io {

inline constexpr size_t kMaxPickleValues = size_t{1} << 22;
inline constexpr size_t kMaxPickleTensors = size_t{1} << 18;

/// A tensor as the pickle of torch.save describes it; nothing is checked against its storage yet.
struct PickledTensor {
  std::string name;          ///< keys of the dicts on the way to it, joined with dots
  std::string_view storage;  ///< key: the entry "data/<key>" of the archive; points into pickle
  DType dtype = DType::kF32;
  int64_t storage_elements = 0;  ///< that the storage claims to have, >= 0
  int64_t offset = 0;            ///< of the first element in the storage, in elements, >= 0
  Shape shape;                   ///< dimensions >= 0, 64 at most
  std::vector<int64_t> strides;  ///< in elements; as many as dimensions
};

/// Runs a pickle (protocol 2 to 5) that must be a dict of tensors, perhaps nested, in a machine
/// that knows plain values, dicts, tensors, parameters and storages, and nothing else: no code is
/// ever called. What is neither a dict nor a tensor is skipped. `where` names the pickle.
/// Errors: data_loss with the byte and the opcode or global that was refused; also for more values
/// or tensors than the limits above, which keep memory under some hundred MB.
std::vector<PickledTensor> unpickle_tensors(std::span<const std::byte> pickle,
                                            std::string_view where);

}  // namespace tamis::io
