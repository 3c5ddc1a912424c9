#pragma once

// What the files of the fake libcudart share. Everything is guarded by State::mutex, which is let
// go only while a command runs: Device::busy then keeps others from that device's memory and
// queues.

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "fake_cudart.h"

namespace tamis::fakes {

struct Device;

/// What an event stands for: a point of a stream.
struct Mark {
  Device* device = nullptr;
  bool done = false;
  double at_ms = 0;  ///< on the clock of its device
};

/// A piece of work. It runs once, or, in a graph, as often as that is launched.
struct Work {
  std::string what;
  bool computes = false;  ///< a kernel or a product
  /// With the lock: counts it, and checks that its memory still lives; may be null.
  std::function<cudaError_t()> admit;
  /// Without the lock, device memory accessible.
  std::function<void()> run;
};

/// A captured graph: each node after the nodes that `after` names, which stand before it.
struct Graph {
  struct Node {
    std::shared_ptr<const Work> work;
    std::vector<size_t> after;
  };
  Device* device = nullptr;
  std::vector<Node> nodes;
};

/// One launch of a graph.
struct GraphRun {
  explicit GraphRun(std::shared_ptr<const Graph> of);
  /// Takes a node whose predecessors are done.
  size_t take(uint64_t random);
  void finish(size_t node);
  bool done() const { return left == 0; }

  std::shared_ptr<const Graph> graph;
  std::vector<size_t> ready, missing;
  size_t left;
};

/// An entry of a stream's queue; one of these is set.
struct Command {
  std::shared_ptr<const Work> work;
  std::shared_ptr<Mark> sets, waits;
  std::shared_ptr<GraphRun> graph;
};

struct Stream;

struct Capture {
  Stream* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool invalid = false, ended = false;
  std::vector<Stream*> members;
  std::shared_ptr<Graph> graph;
};

struct Stream {
  Device* device = nullptr;
  bool blocking = true;  ///< ordered with the legacy stream
  bool legacy = false;
  bool destroyed = false;  ///< lives on until its queue is empty
  bool running = false;    ///< its last taken command is not yet done
  std::deque<Command> queue;
  std::shared_ptr<Capture> capture;
  std::set<size_t> tail;  ///< nodes that the next captured command comes after

  bool idle() const { return queue.empty() && !running; }
};

struct Event {
  Device* device = nullptr;
  unsigned flags = 0;
  std::shared_ptr<Mark> mark;        ///< null: never recorded, which counts as done
  std::shared_ptr<Capture> capture;  ///< set if it was last recorded in a capture
  std::set<size_t> nodes;
};

struct GraphExec {
  std::shared_ptr<const Graph> graph;
  std::shared_ptr<Mark> last;  ///< its launches come one after the other
};

struct Allocation {
  size_t bytes = 0;
  size_t reserved = 0;  ///< with the guard behind it
};

struct Device {
  int index = 0;
  FakeDevice facts;
  std::byte* region = nullptr;
  size_t region_bytes = 0;
  bool open = false;  ///< the region is accessible
  std::map<std::byte*, Allocation> allocations;
  size_t used = 0;
  std::vector<std::shared_ptr<Stream>> streams;  ///< the legacy one first
  cudaError_t broken = cudaSuccess;
  long break_in = 0;
  bool hanging = false;
  long fail_in = 0;             ///< allocations until one fails; 0: none will
  long fail_from_in = 0;        ///< allocations until all fail; 0: never
  bool fails_from_now = false;  ///< that has come
  cudaError_t break_with = cudaSuccess;
  bool busy = false;  ///< a command runs, on some thread
  double clock_ms = 0;

  ~Device();
  bool contains(const void* p) const;  ///< the region, allocated or not
  /// The live allocation that holds [p, p + bytes), or the end.
  std::map<std::byte*, Allocation>::const_iterator find(const void* p, size_t bytes) const;
  void make_region();
  void set_access(bool accessible);
  /// Null if it does not fit.
  std::byte* allocate(size_t bytes);
  bool allocation_fails();
  void release(std::byte* p);
  /// Texts on guards that were written to, which are then made good.
  std::vector<std::string> damaged_guards();
};

struct Kernel {
  std::string name;
  const void* host = nullptr;
  void** binary = nullptr;
  std::map<int, int> dynamic_shared;  ///< by device, what cudaFuncSetAttribute allowed
};

struct Twin {
  size_t argument_bytes = 0;
  void (*run)(const void*, dim3, dim3, size_t) = nullptr;
};

using Lock = std::unique_lock<std::mutex>;
using Handle = uintptr_t;

struct State {
  static State& get();

  mutable std::mutex mutex;
  std::condition_variable changed;  ///< a command has ended
  FakeSetup setup;
  std::mt19937_64 random;
  long fail_at = 0, fail_from = 0;
  FakeCounts counts;
  std::vector<std::string> complaints;
  long lt_objects = 0;

  std::vector<std::unique_ptr<Device>> devices;
  Handle next_handle = 0x10000;  ///< never used twice, so that a stale one is known
  std::map<Handle, std::shared_ptr<Stream>> streams;
  std::map<Handle, std::unique_ptr<Event>> events;
  std::map<Handle, std::shared_ptr<const Graph>> graphs;
  std::map<Handle, std::unique_ptr<GraphExec>> graph_execs;
  std::map<std::pair<std::thread::id, int>, std::shared_ptr<Stream>> thread_streams;
  std::vector<std::shared_ptr<Capture>> captures;
  std::map<std::byte*, size_t> pinned;

  std::map<const void*, std::unique_ptr<Kernel>> kernels;  ///< by host function
  std::map<std::string, Twin> twins;

  void start(const FakeSetup& with);
  void start_from_environment();
  Device* device_of(const void* p) const;
  /// The pinned block that holds p, or the end.
  std::map<std::byte*, size_t>::const_iterator pinned_block(const void* p) const;
  bool allocation_fails();

  // Queues (fake_cudart_queue.cc).
  cudaError_t enqueue(Stream& stream, Work work);
  /// Common to all that is pushed: refuses what a capture forbids, orders with the legacy stream.
  cudaError_t admit_command(Stream& stream);
  void push(Stream& stream, Command command);
  std::shared_ptr<Mark> push_mark(Stream& stream);
  /// Does work of the device, and of those that it waits for, until `done`.
  cudaError_t run_until(Lock& lock, Device& device, const std::function<bool()>& done);
  /// As a poll does: a few commands.
  void run_a_few(Lock& lock, Device& device, const std::function<bool()>& done);
  /// One command; false if nothing can run.
  bool advance(Lock& lock, Device& device, unsigned visited = 0);
  void execute(Lock& lock, Device& device, std::shared_ptr<const Work> work);
  void fault(Device& device, cudaError_t error);
  void wait_not_busy(Lock& lock, Device& device);
  void close_regions();

  // Captures (fake_cudart_graphs.cc).
  void add_node(Stream& stream, Work work);
  void invalidate(Capture& capture);
  /// Whether the calling thread must not make potentially unsafe calls now; invalidates if so.
  bool unsafe_in_capture();
  void leave_capture(Capture& capture);
};

/// The device that the calling thread has chosen.
extern thread_local int current_device;

/// One call of the API: takes the lock, counts, and remembers an error for cudaGetLastError.
class Call {
 public:
  enum Gate { kNone, kDevice };
  /// kDevice: needs a current device that is not broken; failed() tells.
  explicit Call(const char* function, Gate gate = kDevice);

  bool failed() const { return error_ != cudaSuccess; }
  cudaError_t error() const { return error_; }
  cudaError_t done(cudaError_t error = cudaSuccess);
  /// With a complaint.
  cudaError_t refuse(cudaError_t error, const std::string& why);

  Device* device();                     ///< the current one; null: error() says why
  Stream* stream(cudaStream_t handle);  ///< also null if its device is broken
  Event* event(cudaEvent_t handle);
  /// "This call is not allowed while a stream is captured."
  bool unsafe();

  State& state;
  Lock lock;

 private:
  const char* function_;
  cudaError_t error_ = cudaSuccess;
};

std::string hex(const void* p);

}  // namespace tamis::fakes
