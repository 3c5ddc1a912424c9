#pragma once

// A stack of its own that runs until it yields. x86-64 only, as the rest of the emulation: ucontext
// enters the kernel at every switch, which made it some thirty times slower.

#include <cstddef>

namespace tamis::emulation {

/// Where the thread of the host goes on when a fiber yields.
struct FiberContext {
  void* stack_pointer = nullptr;
  // What ASan must know of the stack that is switched to.
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  size_t bytes = 0;
};

class Fiber {
 public:
  static constexpr size_t kStackBytes = size_t{64} << 10;

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume calls `entry`, which must end with leave. What ran here before is forgotten.
  void start(void (*entry)());
  void resume(FiberContext& host);
  /// Of the fiber that runs: back to the host, until the next resume.
  void yield(FiberContext& host);
  /// As yield, for ever.
  [[noreturn]] void leave(FiberContext& host);

 private:
  std::byte* stack_ = nullptr;
  FiberContext context_;
};

}  // namespace tamis::emulation
