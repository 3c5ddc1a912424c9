#pragma once

// Sums over several cards by NVIDIA's NCCL, which is opened when a run asks for it.

#include <memory>
#include <string>

#include "backend/cuda/cuda_runtime.h"
#include "device/rank_sum.h"

namespace tamis::cuda {

/// Its functions, as far as they are used. The library stays open for good.
class Nccl {
 public:
  /// A name that the dynamic linker finds, or a path. Null if it is not there or lacks a function;
  /// `why_not` then says which.
  static std::shared_ptr<const Nccl> open(const std::string& library, std::string& why_not);
  ~Nccl();
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;

  /// What all ranks of a run join with; made by one of them. Errors: unavailable.
  std::string make_token(const Card& card) const;

 private:
  friend class NcclSum;
  struct Api;
  explicit Nccl(std::unique_ptr<const Api> api);
  void check(const Card& card, const char* call, int result) const;
  std::unique_ptr<const Api> api_;
};

/// Returns when all ranks have come. Errors: unavailable.
std::unique_ptr<RankSum> join_nccl(std::shared_ptr<const Nccl> nccl,
                                   std::shared_ptr<const Card> card, cudaStream_t stream,
                                   const std::string& token, int rank, int size);

}  // namespace tamis::cuda
