#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace tamis {

/// What a simulated accelerator is like.
struct SimOptions {
  size_t memory_bytes = size_t{16} << 30;
  double gflops = 0;     ///< billions of operations a second; 0 = instant
  double launch_us = 0;  ///< what each op and each copy takes besides
  double copy_gbps = 0;  ///< gigabytes a second between host and device; 0 = instant
  double slow = 1;       ///< every time is multiplied by it
  uint64_t seed = 1;     ///< of the order between streams
  bool shuffled = true;  ///< work of different streams runs in a random order; else as it was given
  std::string name;      ///< for people, at the head of description()

  std::string description() const;  ///< "simulated accelerator, 16.0 GB, 50 GFLOP/s"
};

/// What goes wrong on a simulated accelerator.
struct SimFaults {
  size_t fail_alloc = 0;       ///< the allocation that fails, counted from the next; 0 = none
  size_t fail_alloc_from = 0;  ///< the first of those that all fail
  size_t fail_op = 0;          ///< the op, counted as they execute, that breaks the device
  bool broken = false;         ///< fail_op has struck
  bool gone = false;
  bool hang = false;
};

/// Properties and faults of one simulated accelerator; they may change while it works, and they
/// outlive it. Thread rule: every function may be called from any thread.
class SimState {
 public:
  /// A list such as "memory=2GiB,gflops=50", applied as a whole or not at all:
  ///   memory=SIZE                what it has, 16GiB at first
  ///   gflops=X copy_gbps=X launch_us=X slow=X    its speed; 0 = instant
  ///   order=fifo|shuffled seed=N                 which stream's work comes first
  ///   name=TEXT                  for people
  ///   fail_alloc=N               the N-th allocation from now throws resource_exhausted
  ///   fail_alloc_from=N          that one and all after it; 0 = off
  ///   fail_op=N                  the N-th op from now breaks the device: it, and every call after
  ///                              it, throws unavailable. Copies are not counted.
  ///   gone=1                     every call that needs the device throws unavailable
  ///   hang=1                     work does not end; synchronize throws unavailable when its
  ///                              timeout is over
  ///   heal=1                     all faults off
  /// Errors: invalid_argument (key or value; lists the keys).
  void apply(std::string_view description);

  SimOptions options() const;

  // What follows is for the device.

  /// Errors: unavailable, if the device is gone or broken.
  void require_alive(std::string_view device) const;
  bool hangs() const;
  /// Counts an allocation: whether it fails.
  bool next_alloc_fails();
  /// Counts an op: whether it breaks the device.
  bool next_op_fails();
  /// How long an op, or a copy, takes.
  std::chrono::nanoseconds time_of_op(double flops) const;
  std::chrono::nanoseconds time_of_copy(double bytes) const;

 private:
  mutable std::mutex mutex_;
  SimOptions options_;
  SimFaults faults_;
};

}  // namespace tamis
