// Gives the emulated kernels to the fake runtime.

#include "emulator.h"
#include "fakes/cuda/fake_cudart.h"

#include "backend/cuda/kernels.h"

namespace tamis::emulation {
namespace {

template <class Args, void (*kKernel)(Args)>
void run_twin(const void* arguments, dim3 grid, dim3 block, size_t) {
  const std::string problem = run({grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
                                  [&] { kKernel(*static_cast<const Args*>(arguments)); });
  if (!problem.empty()) fake_cuda()->complain(problem);
}

template <class Args, void (*kKernel)(Args)>
bool add(const char* name) {
  fake_cuda_register_twin(name, sizeof(Args), run_twin<Args, kKernel>);
  return true;
}

using namespace cuda;
[[maybe_unused]] const bool kAdded[] = {
    add<EmbedArgs, tamis_embed_layer_norm>("tamis_embed_layer_norm"),
    add<LayerNormArgs, tamis_add_layer_norm>("tamis_add_layer_norm"),
    add<BiasArgs, tamis_bias_activation>("tamis_bias_activation"),
    add<NarrowArgs, tamis_narrow>("tamis_narrow"),
    add<DotArgs, tamis_dot>("tamis_dot"),
    add<GatherArgs, tamis_gather_rows>("tamis_gather_rows"),
    add<MeanArgs, tamis_mean_rows>("tamis_mean_rows"),
    add<MaxArgs, tamis_max_rows>("tamis_max_rows"),
    add<NormalizeArgs, tamis_l2_normalize>("tamis_l2_normalize"),
    add<SoftmaxArgs, tamis_softmax_rows>("tamis_softmax_rows"),
    add<AttentionArgs, tamis_attention_32>("tamis_attention_32"),
    add<AttentionArgs, tamis_attention_64>("tamis_attention_64"),
    add<AttentionArgs, tamis_attention_128>("tamis_attention_128"),
};

}  // namespace
}  // namespace tamis::emulation
