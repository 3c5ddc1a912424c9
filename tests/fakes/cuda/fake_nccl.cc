// A libnccl whose ranks are threads of one process: what it sums it fetches and brings back through
// the fake runtime, in the order of the stream.

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace {

constexpr int kSuccess = 0, kCudaError = 1, kInvalidArgument = 4, kRemoteError = 6;

struct UniqueId {
  std::array<char, 128> bytes;
};

/// Where the ranks of a run meet, one sum after the other.
struct Group {
  explicit Group(int n) : size(n), given(static_cast<size_t>(n)) {}
  std::mutex mutex;
  std::condition_variable changed;
  int size;
  int joined = 0, inside = 0;
  bool leaving = false, aborted = false;
  std::vector<std::vector<float>> given;

  int exchange(int rank, std::vector<float>& x) {
    std::unique_lock lock(mutex);
    const auto wait = [&](const auto& condition) {
      changed.wait(lock, [&] { return aborted || condition(); });
      return condition();
    };
    if (!wait([&] { return !leaving; })) return kRemoteError;
    given[static_cast<size_t>(rank)] = x;
    if (++inside == size) leaving = true, changed.notify_all();
    if (!wait([&] { return leaving; })) return kRemoteError;
    for (const auto& part : given) {
      if (part.size() != x.size()) return kInvalidArgument;
    }
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = given[0][i];
      for (size_t r = 1; r < given.size(); ++r) x[i] += given[r][i];
    }
    if (--inside == 0) leaving = false, changed.notify_all();
    return kSuccess;
  }
};

std::mutex groups_mutex;
std::map<std::string, std::shared_ptr<Group>> groups;
std::atomic<int> tokens{0};
std::atomic<long> sums{0};

}  // namespace

struct CommTag {
  std::shared_ptr<Group> group;
  int rank;
};
using Comm = CommTag*;

extern "C" {

int ncclGetUniqueId(UniqueId* id) {
  *id = {};
  const std::string text = "fake " + std::to_string(++tokens);
  std::memcpy(id->bytes.data(), text.data(), text.size());
  return kSuccess;
}

int ncclCommInitRank(Comm* comm, int size, UniqueId id, int rank) {
  if (size < 1 || rank < 0 || rank >= size) return kInvalidArgument;
  std::shared_ptr<Group> group;
  {
    const std::lock_guard lock(groups_mutex);
    auto& slot = groups[std::string(id.bytes.data(), id.bytes.size())];
    if (!slot) slot = std::make_shared<Group>(size);
    group = slot;
  }
  std::unique_lock lock(group->mutex);
  ++group->joined;
  group->changed.notify_all();
  group->changed.wait(lock, [&] { return group->joined == group->size; });
  *comm = new CommTag{group, rank};
  return kSuccess;
}

int ncclCommAbort(Comm comm) {
  {
    const std::lock_guard lock(comm->group->mutex);
    comm->group->aborted = true;
    comm->group->changed.notify_all();
  }
  delete comm;
  return kSuccess;
}

int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, Comm comm,
                  cudaStream_t stream) {
  if (type != 7 || op != 0) return kInvalidArgument;
  std::vector<float> x(count);
  const size_t bytes = count * sizeof(float);
  if (cudaMemcpyAsync(x.data(), from, bytes, cudaMemcpyDeviceToHost, stream) != cudaSuccess ||
      cudaStreamSynchronize(stream) != cudaSuccess) {
    return kCudaError;
  }
  if (const int result = comm->group->exchange(comm->rank, x); result != kSuccess) return result;
  ++sums;
  if (cudaMemcpyAsync(to, x.data(), bytes, cudaMemcpyHostToDevice, stream) != cudaSuccess ||
      cudaStreamSynchronize(stream) != cudaSuccess) {
    return kCudaError;
  }
  return kSuccess;
}

const char* ncclGetErrorString(int result) {
  return result == kRemoteError ? "remote process exited or there was a network error" : "error";
}

/// For tests: sums of all ranks since the library was opened.
long fake_nccl_sums() { return sums; }
}
