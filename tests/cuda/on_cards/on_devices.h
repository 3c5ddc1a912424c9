#pragma once

// Where the tests of the engine put their models when they run on cards: the CUDA plug-in over the
// fakes. Their sources are those of tests/unit/engine, with "cuda:" in the place of "sim:" and
// describe_card in that of Devices::describe_sim: see ../CMakeLists.txt.

#include <memory>
#include <string>
#include <vector>

#include "fakes/cuda/fake_cudart.h"
#include "tamis/device.h"
#include "tamis/types.h"

namespace tamis {

/// Large pieces of work are so many times smaller here. Kernels are emulated a thread at a time.
inline constexpr size_t kSmaller = 6;

/// How far f16 scores may be from the cpu's: a card multiplies f16 by f16, the cpu f16 by f32, and
/// this is what is asked of f16 against f32.
inline constexpr double kF16Apart = 5e-3;

/// As Devices::describe_sim: memory, slow, and faults. What is a sim's alone (gflops, launch_us,
/// copy_gbps, seed, order) is nothing to a card.
void describe_card(const std::string& name, const std::string& description);

/// A place for the model, by its name; cards are described by `cards`.
LoadOptions on(const std::string& device, const std::vector<std::string>& cards = {});

}  // namespace tamis
