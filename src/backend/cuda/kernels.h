#pragma once

// The CUDA kernels as host code sees them. Their definitions (*.cu) are compiled by nvcc, and for
// the tests once more by g++ with an emulation of the card.

#include "backend/cuda/train_kernel_args.h"

// C names: the runtime of the tests finds the emulated twin of a launch by them.
extern "C" {
void tamis_embed_layer_norm(tamis::cuda::EmbedArgs args);    // grid: rows
void tamis_add_layer_norm(tamis::cuda::LayerNormArgs args);  // grid: rows
void tamis_bias_activation(tamis::cuda::BiasArgs args);      // grid: any
void tamis_narrow(tamis::cuda::NarrowArgs args);             // grid: any
void tamis_dot(tamis::cuda::DotArgs args);                   // grid: any
void tamis_gather_rows(tamis::cuda::GatherArgs args);        // grid: cols / kThreads
void tamis_mean_rows(tamis::cuda::MeanArgs args);            // grid: cols / kThreads, rows of y
void tamis_max_rows(tamis::cuda::MaxArgs args);              // grid: cols / kThreads
void tamis_l2_normalize(tamis::cuda::NormalizeArgs args);    // grid: rows
void tamis_softmax_rows(tamis::cuda::SoftmaxArgs args);      // grid: rows
// grid: queries / kAttentionRows, heads, sequences; one for each head_dim
void tamis_attention_32(tamis::cuda::AttentionArgs args);
void tamis_attention_64(tamis::cuda::AttentionArgs args);
void tamis_attention_128(tamis::cuda::AttentionArgs args);
// Of training.
void tamis_product(tamis::cuda::ProductArgs args);        // grid: any
void tamis_column_sums(tamis::cuda::ColumnSumArgs args);  // grid: rows / kSumRows, cols / kThreads
void tamis_add_sums(tamis::cuda::AddSumsArgs args);       // grid: cols / kThreads
void tamis_embed(tamis::cuda::EmbedArgs args);            // grid: any; of the norm nothing is used
void tamis_add_rows(tamis::cuda::AddRowsArgs args);       // grid: cols / kThreads
void tamis_layer_norm_backward(tamis::cuda::LayerNormBackwardArgs args);  // grid: rows
void tamis_activate(tamis::cuda::ActivationArgs args);                    // grid: any
void tamis_dropout(tamis::cuda::DropoutArgs args);                        // grid: any
void tamis_scale(tamis::cuda::ScaleArgs args);                            // grid: any
void tamis_put_rows(tamis::cuda::GatherArgs args);                        // grid: cols / kThreads
void tamis_spread_rows(tamis::cuda::MeanArgs args);       // grid: cols / kThreads, rows of x
void tamis_zero(tamis::cuda::ZeroArgs args);              // grid: any
void tamis_square_sums(tamis::cuda::SquareSumArgs args);  // grid: any, a sum for each block
void tamis_adamw(tamis::cuda::AdamWArgs args);            // grid: any
void tamis_softmax_backward(tamis::cuda::SoftmaxBackwardArgs args);  // grid: rows of p
}
