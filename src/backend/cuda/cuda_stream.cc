#include "backend/cuda/cuda_stream.h"

#include <cstring>
#include <utility>

#include "base/fail.h"

namespace tamis::cuda {

PinnedPieces::PinnedPieces(const Card& card) : card_(card) {
  for (auto* pieces : {&up_, &down_}) {
    for (Piece& piece : *pieces) {
      piece.data = make_pinned(card, kPieceBytes);
      piece.used = make_event(card);
    }
  }
}

PinnedPieces::Piece& PinnedPieces::next(std::array<Piece, 2>& pieces, size_t& turn) {
  Piece& piece = pieces[turn++ % pieces.size()];
  if (piece.busy) {
    wait_for(
        card_, [&] { return cudaEventQuery(piece.used.get()); }, patience_);
    deliver(piece);
  }
  return piece;
}

void PinnedPieces::deliver(Piece& piece) {
  if (piece.busy && piece.deliver_to != nullptr) {
    std::memcpy(piece.deliver_to, piece.data.get(), piece.bytes);
  }
  piece.busy = false;
  piece.deliver_to = nullptr;
}

void PinnedPieces::deliver() {
  for (Piece& piece : up_) deliver(piece);
  // In the order in which they were asked for: two may go to the same place.
  for (size_t i = 0; i < down_.size(); ++i) deliver(down_[(down_turn_ + i) % down_.size()]);
}

void PinnedPieces::deliver_arrived() {
  for (size_t i = 0; i < down_.size(); ++i) {
    Piece& piece = down_[(down_turn_ + i) % down_.size()];
    if (piece.busy && cudaEventQuery(piece.used.get()) == cudaSuccess) deliver(piece);
  }
}

void PinnedPieces::upload(void* device, const void* host, size_t bytes, cudaStream_t stream) {
  if (bytes > kPieceBytes) {
    // From memory that is not pinned CUDA returns when it has read it.
    check(card_, "upload", cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream));
    return;
  }
  Piece& piece = next(up_, up_turn_);
  std::memcpy(piece.data.get(), host, bytes);
  check(card_, "upload",
        cudaMemcpyAsync(device, piece.data.get(), bytes, cudaMemcpyHostToDevice, stream));
  check(card_, "cudaEventRecord", cudaEventRecord(piece.used.get(), stream));
  piece.busy = true;
}

void PinnedPieces::download(void* host, const void* device, size_t bytes, cudaStream_t stream) {
  if (bytes > kPieceBytes) {
    // Returns when it has arrived, after all that is queued before.
    check(card_, "download", cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream));
    return;
  }
  Piece& piece = next(down_, down_turn_);
  check(card_, "download",
        cudaMemcpyAsync(piece.data.get(), device, bytes, cudaMemcpyDeviceToHost, stream));
  check(card_, "cudaEventRecord", cudaEventRecord(piece.used.get(), stream));
  piece.busy = true;
  piece.deliver_to = host;
  piece.bytes = bytes;
}

class CudaEvent : public Event {
 public:
  explicit CudaEvent(std::shared_ptr<CudaStream> stream)
      : stream_(std::move(stream)), event_(make_event(card())) {
    check(card(), "cudaEventRecord", cudaEventRecord(event_.get(), stream_->stream_.get()));
  }
  void synchronize(std::chrono::milliseconds timeout) override {
    use(card());
    wait_for(
        card(), [&] { return cudaEventQuery(event_.get()); }, timeout);
    stream_->pinned_.deliver_arrived();
  }
  const Card& card() const { return *stream_->card_; }
  cudaEvent_t get() const { return event_.get(); }

 private:
  std::shared_ptr<CudaStream> stream_;
  OwnedEvent event_;
};

CudaStream::CudaStream(std::shared_ptr<const Card> card)
    : card_(std::move(card)),
      stream_((use(*card_), make_stream(*card_))),
      pinned_(*card_),
      ops_(*card_, stream_.get()) {}

CudaStream::~CudaStream() {
  // The pinned pieces must not go while a copy is under way. A card that has failed has none.
  try {
    use(*card_);
    wait_for(
        *card_, [&] { return cudaStreamQuery(stream_.get()); }, pinned_.patience());
  } catch (const Error&) {
  }
}

Ops& CudaStream::ops() {
  use(*card_);
  return ops_;
}

TrainOps* CudaStream::train_ops() {
  use(*card_);
  if (!train_ops_) train_ops_ = std::make_unique<CudaTrainOps>(*card_, stream_.get(), pinned_);
  return train_ops_.get();
}

void CudaStream::upload(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  use(*card_);
  pinned_.upload(device, host, bytes, stream_.get());
}

void CudaStream::download(void* host, const void* device, size_t bytes) {
  if (bytes == 0) return;
  use(*card_);
  pinned_.download(host, device, bytes, stream_.get());
}

OwnedGraphExec CudaStream::capture(const std::function<void()>& work) {
  check(*card_, "cudaStreamBeginCapture",
        cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream_.get(), &graph);
    const OwnedGraph owned(graph);
    cudaGetLastError();
    throw;
  }
  check(*card_, "cudaStreamEndCapture", cudaStreamEndCapture(stream_.get(), &graph));
  const OwnedGraph owned(graph);
  cudaGraphExec_t out = nullptr;
  check(*card_, "cudaGraphInstantiate", cudaGraphInstantiate(&out, graph, 0));
  return OwnedGraphExec(out);
}

void CudaStream::repeat(std::span<const int64_t> key, const std::function<void()>& work) {
  use(*card_);
  if (!card_->graphs) return work();
  std::vector<int64_t> owned(key.begin(), key.end());
  auto it = graphs_.find(owned);
  if (it == graphs_.end()) {
    OwnedGraphExec graph = capture(work);
    if (graphs_.size() >= kMostGraphs) graphs_.clear();
    it = graphs_.emplace(std::move(owned), std::move(graph)).first;
  }
  check(*card_, "cudaGraphLaunch", cudaGraphLaunch(it->second.get(), stream_.get()));
}

std::unique_ptr<Event> CudaStream::record() {
  use(*card_);
  return std::make_unique<CudaEvent>(shared_from_this());
}

void CudaStream::wait(const Event& event) {
  const auto* known = dynamic_cast<const CudaEvent*>(&event);
  if (known == nullptr || known->card().index != card_->index) {
    fail(ErrorCode::kInternal, "{}: wait: the event is of another device", card_->name);
  }
  use(*card_);
  check(*card_, "cudaStreamWaitEvent", cudaStreamWaitEvent(stream_.get(), known->get(), 0));
}

void CudaStream::synchronize(std::chrono::milliseconds timeout) {
  // Whoever does not wait longer here does not want to elsewhere: the card may hang.
  pinned_.set_patience(timeout);
  use(*card_);
  wait_for(
      *card_, [&] { return cudaStreamQuery(stream_.get()); }, timeout);
  pinned_.deliver();
}

bool CudaStream::can_join_ranks(std::string& why_not) {
  if (!nccl_) nccl_ = Nccl::open(card_->nccl, why_not);
  return nccl_ != nullptr;
}

std::string CudaStream::make_rank_token() { return nccl_->make_token(*card_); }

std::unique_ptr<RankSum> CudaStream::join_ranks(const std::string& token, int rank, int size) {
  return join_nccl(nccl_, card_, stream_.get(), token, rank, size);
}

}  // namespace tamis::cuda
