#pragma once

// A library in the place of NVIDIA's libcudart and libcublasLt, written from their headers and
// documentation: cards of any number and size, without one. Calls only queue their work. It is done
// when somebody waits for it or asks whether it is done, a command at a time, from streams chosen
// at random, so that a missing wait shows as wrong numbers. Kernels run as their twins, compiled
// for the host. Tests reach the state by fake_cuda(); a program is told by the environment:
//   TAMIS_FAKE_CUDA=devices=2,memory=64MiB,capability=80,seed=3,order=last,compute=off

#include <cuda_runtime_api.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace tamis::fakes {

/// Done or not: what an event stands for.
struct Mark {
  bool done = false;
};

/// Runs once, or, in a graph, as often as that is launched.
struct Command {
  std::string what;
  std::function<void()> run;    ///< none: checked when it was queued, and no more
  std::shared_ptr<Mark> after;  ///< begins when this is done; null = at once
};

struct Card;

struct FakeStream {
  Card* card = nullptr;
  std::deque<Command> queue;
  std::vector<Command>* capture = nullptr;  ///< commands go there while it records
};

struct FakeEvent {
  Card* card = nullptr;
  std::shared_ptr<Mark> mark;  ///< null: never recorded, which counts as done
};

/// Memory of a card: a range of addresses that nobody may touch while no command runs.
struct Card {
  int index = 0;
  std::string name = "Fake GPU";
  size_t memory = size_t{1} << 30;
  int capability = 80;
  unsigned slow = 1;  ///< of so many questions, one finds that time has passed
  long done = 0;      ///< commands
  std::byte* region = nullptr;
  size_t region_bytes = 0;
  size_t used = 0;
  std::map<std::byte*, size_t> allocations;
  std::set<FakeStream*> streams;
  cudaError_t broken = cudaSuccess;  ///< every call fails with it from now on
};

struct Twin {
  size_t argument_bytes = 0;
  void (*run)(const void* arguments, dim3 grid, dim3 block) = nullptr;
};

/// Where the test sets things before, and reads them after. Locked by `mutex`.
struct FakeCuda {
  std::recursive_mutex mutex;

  // What the machine is like.
  std::vector<std::unique_ptr<Card>> cards;
  cudaError_t driver = cudaSuccess;  ///< what cudaGetDeviceCount fails with
  std::mt19937 random{1};
  bool last_warp_first = false;
  bool compute = true;  ///< off: kernels and products take no time and change nothing
  bool protect = true;  ///< memory of a card cannot be touched by the host

  // Faults: the n-th from now on, counted from 1; 0 = none.
  int fail_allocation = 0;
  bool fail_allocations_after = false;  ///< and all that follow
  int break_at_command = 0;
  cudaError_t break_with = cudaErrorIllegalAddress;

  // What happened.
  std::map<std::string, long> calls;     ///< by function
  std::map<std::string, long> launches;  ///< by kernel
  long uploads = 0, downloads = 0, graph_launches = 0, products = 0, heuristics = 0;
  std::vector<std::string> complaints;  ///< misuse that the backend must not show
  std::set<std::byte*> pinned;
  std::map<std::byte*, size_t> pinned_bytes;
  std::set<FakeEvent*> events;
  std::set<void*> graphs, graph_execs, handles;

  std::map<const void*, std::string> kernels;  ///< host address → name
  std::map<std::string, Twin> twins;

  /// Cards that nobody uses any more; forgets counts, faults and complaints.
  void reset(int count, size_t memory = size_t{1} << 30, int capability = 80);
  void clear_counts();
  /// "": everything was given back.
  std::string leaks() const;
};

// Between the files of the library.
FakeCuda& state();
void complain(const std::string& text);
/// Queues work on a stream, or records it there. Returns what the call returns.
cudaError_t enqueue(cudaStream_t stream, Command command);
Card* card_of(cudaStream_t stream);
/// Whether [p, p + bytes) is memory of this card, in one allocation.
bool owns(const Card& card, const void* p, size_t bytes);
/// Runs a command of the card, if one can; false if none can.
bool step(Card& card);

}  // namespace tamis::fakes

extern "C" tamis::fakes::FakeCuda* fake_cuda();
/// The twin library gives its kernels by name.
extern "C" void fake_cuda_register_twin(const char* name, size_t argument_bytes,
                                        void (*run)(const void*, dim3, dim3));
