#pragma once

#include <functional>
#include <memory>

#include "base/thread_pool.h"
#include "device/train_ops.h"
#include "kernels/kernels.h"

namespace tamis {

/// The ops of training on the cores of a pool. Sums are cut into pieces whose size does not depend
/// on the threads, so that any number of them gives the same bits.
std::unique_ptr<TrainOps> make_cpu_train_ops(const kernels::KernelTable& table, ThreadPool& pool);

/// Calls task(begin, end, thread) for pieces of at most `step` of [0, count).
void for_each_piece(ThreadPool& pool, int64_t count, int64_t step,
                    const std::function<void(int64_t, int64_t, int)>& task);

/// Attention with its probabilities in memory, a block of queries at a time
/// (cpu_train_attention.cc). Scratch: train_attention_floats for each thread.
size_t train_attention_floats(const kernels::KernelTable& table, int64_t longest, int64_t head_dim);
void train_attention(const kernels::KernelTable& table, const TrainAttention& a, int64_t sequence,
                     int64_t head, Mat out, float* scratch);
void train_attention_backward(const kernels::KernelTable& table, const TrainAttention& a,
                              int64_t sequence, int64_t head, ConstMat out, ConstMat d_out, Mat d_q,
                              Mat d_k, Mat d_v, float* scratch);

/// One panel [k][nr] of columns [col, col + nr) of b, zeros beyond its last one.
void pack_factor_panel(const kernels::KernelTable& table, const Factor& b, int64_t col,
                       float* panel);
/// y [x.cols, x.rows] = the transpose of x.
void transpose(ConstMat x, Mat y);

}  // namespace tamis
