#include "backend/cuda/nccl.h"

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <utility>

#include "base/fail.h"

namespace tamis::cuda {
namespace {

// Our own declarations of the part of NCCL's binary interface that we use, so that nothing is
// needed of it to build. Layouts and values are those of NVIDIA's published header, version 2.
constexpr int kSuccess = 0;
constexpr int kFloat32 = 7;
constexpr int kSum = 0;
constexpr size_t kTokenBytes = 128;

struct UniqueId {
  std::array<char, kTokenBytes> bytes;
};

using Comm = struct CommTag*;

}  // namespace

struct Nccl::Api {
  int (*get_unique_id)(UniqueId*) = nullptr;
  int (*comm_init_rank)(Comm*, int, UniqueId, int) = nullptr;
  int (*comm_abort)(Comm) = nullptr;
  int (*all_reduce)(const void*, void*, size_t, int, int, Comm, cudaStream_t) = nullptr;
  const char* (*error_string)(int) = nullptr;
};

Nccl::Nccl(std::unique_ptr<const Api> api) : api_(std::move(api)) {}

Nccl::~Nccl() = default;

std::shared_ptr<const Nccl> Nccl::open(const std::string& library, std::string& why_not) {
  auto api = std::make_unique<Api>();
  // It starts threads of its own, whose code must stay.
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    why_not = dlerror();
    return nullptr;
  }
  const char* missing = nullptr;
  const auto find = [&]<class Function>(Function*& out, const char* name) {
    out = reinterpret_cast<Function*>(dlsym(handle, name));
    if (out == nullptr && missing == nullptr) missing = name;
  };
  find(api->get_unique_id, "ncclGetUniqueId");
  find(api->comm_init_rank, "ncclCommInitRank");
  find(api->comm_abort, "ncclCommAbort");
  find(api->all_reduce, "ncclAllReduce");
  find(api->error_string, "ncclGetErrorString");
  if (missing != nullptr) {
    why_not = fmt::format("{} has no {}", library, missing);
    return nullptr;
  }
  return std::shared_ptr<const Nccl>(new Nccl(std::move(api)));
}

void Nccl::check(const Card& card, const char* call, int result) const {
  if (result == kSuccess) return;
  fail(ErrorCode::kUnavailable, "{}: {}: {}", card.name, call, api_->error_string(result));
}

std::string Nccl::make_token(const Card& card) const {
  use(card);
  UniqueId id{};
  check(card, "ncclGetUniqueId", api_->get_unique_id(&id));
  return {id.bytes.data(), id.bytes.size()};
}

class NcclSum : public RankSum {
 public:
  NcclSum(std::shared_ptr<const Nccl> nccl, std::shared_ptr<const Card> card, cudaStream_t stream,
          const std::string& token, int rank, int size)
      : nccl_(std::move(nccl)), card_(std::move(card)), stream_(stream) {
    if (token.size() != kTokenBytes) {
      fail(ErrorCode::kInternal, "{}: a token of NCCL has {} bytes, got {}", card_->name,
           kTokenBytes, token.size());
    }
    UniqueId id{};
    std::memcpy(id.bytes.data(), token.data(), kTokenBytes);
    use(*card_);
    nccl_->check(*card_, "ncclCommInitRank", nccl_->api_->comm_init_rank(&comm_, size, id, rank));
  }
  ~NcclSum() override {
    // Not ncclCommDestroy, which waits for ranks that may be gone.
    if (comm_ != nullptr) nccl_->api_->comm_abort(comm_);
  }
  NcclSum(const NcclSum&) = delete;
  NcclSum& operator=(const NcclSum&) = delete;

  void sum(float* x, int64_t n) override {
    if (n == 0) return;
    use(*card_);
    nccl_->check(
        *card_, "ncclAllReduce",
        nccl_->api_->all_reduce(x, x, static_cast<size_t>(n), kFloat32, kSum, comm_, stream_));
  }

 private:
  std::shared_ptr<const Nccl> nccl_;
  std::shared_ptr<const Card> card_;
  cudaStream_t stream_;
  Comm comm_ = nullptr;
};

std::unique_ptr<RankSum> join_nccl(std::shared_ptr<const Nccl> nccl,
                                   std::shared_ptr<const Card> card, cudaStream_t stream,
                                   const std::string& token, int rank, int size) {
  return std::make_unique<NcclSum>(std::move(nccl), std::move(card), stream, token, rank, size);
}

}  // namespace tamis::cuda
