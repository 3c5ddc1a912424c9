#pragma once

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <vector>

#include "backend/cuda/cuda_ops.h"
#include "backend/cuda/cuda_runtime.h"
#include "backend/cuda/cuda_train_ops.h"
#include "backend/cuda/nccl.h"

namespace tamis::cuda {

/// Pinned memory of the host, which the card reads and writes by itself: two pieces, used in turns,
/// so that one is filled while the other is on its way. Copies larger than a piece go without.
class PinnedPieces {
 public:
  /// The indices of 10,000 tokens, or the logits of 60,000 pairs.
  static constexpr size_t kPieceBytes = size_t{256} << 10;

  explicit PinnedPieces(const Card& card);
  /// How long a copy may take that has to be waited for: at first a minute.
  void set_patience(std::chrono::milliseconds patience) { patience_ = patience; }
  std::chrono::milliseconds patience() const { return patience_; }
  void upload(void* device, const void* host, size_t bytes, cudaStream_t stream);
  void download(void* host, const void* device, size_t bytes, cudaStream_t stream);
  /// Hands over all downloads; all work must be done.
  void deliver();
  /// Hands over those that have arrived.
  void deliver_arrived();

 private:
  struct Piece {
    PinnedBytes data;
    OwnedEvent used;  ///< the copy is done
    bool busy = false;
    void* deliver_to = nullptr;  ///< of a download
    size_t bytes = 0;
  };
  Piece& next(std::array<Piece, 2>& pieces, size_t& turn);
  void deliver(Piece& piece);

  const Card& card_;
  std::array<Piece, 2> up_, down_;
  size_t up_turn_ = 0, down_turn_ = 0;
  std::chrono::milliseconds patience_{60'000};
};

class CudaStream : public Stream, public std::enable_shared_from_this<CudaStream> {
 public:
  explicit CudaStream(std::shared_ptr<const Card> card);
  ~CudaStream() override;

  Ops& ops() override;
  TrainOps* train_ops() override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void repeat(std::span<const int64_t> key, const std::function<void()>& work) override;
  std::unique_ptr<Event> record() override;
  void wait(const Event& event) override;
  void synchronize(std::chrono::milliseconds timeout) override;
  bool can_join_ranks(std::string& why_not) override;
  std::string make_rank_token() override;
  std::unique_ptr<RankSum> join_ranks(const std::string& token, int rank, int size) override;

 private:
  friend class CudaEvent;
  /// Of batches as they were queued once, to be queued again in one call.
  static constexpr size_t kMostGraphs = 64;
  OwnedGraphExec capture(const std::function<void()>& work);

  std::shared_ptr<const Card> card_;
  OwnedStream stream_;
  PinnedPieces pinned_;
  CudaOps ops_;
  std::unique_ptr<CudaTrainOps> train_ops_;  ///< made when somebody trains
  std::shared_ptr<const Nccl> nccl_;         ///< opened when several cards train
  std::map<std::vector<int64_t>, OwnedGraphExec> graphs_;
};

}  // namespace tamis::cuda
