#pragma once

// The forward pass: free functions of (weights, batch, workspace) over a device's ops.

#include <functional>
#include <span>
#include <string_view>

#include "batch/packed_batch.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace tamis {

/// Called with the name of each stage ("embeddings", "layer 3", "the head") and a copy of its
/// output in host memory.
using Probe = std::function<void(std::string_view stage, ConstMat output)>;

/// What a linear layer reads.
enum class LayerInput { kAttention, kContext, kUp, kDown };
using LayerProbe = std::function<void(LayerInput input, ConstMat x)>;

/// Runs embeddings and layers, all rows of each, over a batch: layer(i) gives the weights of layer
/// i, which are not used after the call for the next one; `probe` sees what its linear layers read,
/// on a device with host_memory. Errors: as forward.
void forward_layers(const ModelWeights& embeddings, const PackedBatch& batch, Workspace& workspace,
                    const std::function<const LayerWeights&(int64_t)>& layer,
                    const std::function<void(int64_t, LayerInput, ConstMat)>& probe);

/// Runs the model: out, in host memory, gets what `outputs` says, laid out as OutputLayout does;
/// complete when the call returns.
/// Errors: invalid_argument (an id, position or type outside its table), resource_exhausted (no
/// memory for a batch of this size; a smaller one may pass), and those of Stream::synchronize.
void forward(const ModelWeights& weights, const PackedBatch& batch, Workspace& workspace,
             const Outputs& outputs, std::span<float> out, const Probe& probe = {});

}  // namespace tamis
