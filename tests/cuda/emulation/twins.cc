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
    add<ProductArgs, tamis_product>("tamis_product"),
    add<ColumnSumArgs, tamis_column_sums>("tamis_column_sums"),
    add<AddSumsArgs, tamis_add_sums>("tamis_add_sums"),
    add<EmbedArgs, tamis_embed>("tamis_embed"),
    add<AddRowsArgs, tamis_add_rows>("tamis_add_rows"),
    add<LayerNormBackwardArgs, tamis_layer_norm_backward>("tamis_layer_norm_backward"),
    add<ActivationArgs, tamis_activate>("tamis_activate"),
    add<DropoutArgs, tamis_dropout>("tamis_dropout"),
    add<ScaleArgs, tamis_scale>("tamis_scale"),
    add<GatherArgs, tamis_put_rows>("tamis_put_rows"),
    add<MeanArgs, tamis_spread_rows>("tamis_spread_rows"),
    add<ZeroArgs, tamis_zero>("tamis_zero"),
    add<SquareSumArgs, tamis_square_sums>("tamis_square_sums"),
    add<AdamWArgs, tamis_adamw>("tamis_adamw"),
    add<SoftmaxBackwardArgs, tamis_softmax_backward>("tamis_softmax_backward"),
};

}  // namespace
}  // namespace tamis::emulation
