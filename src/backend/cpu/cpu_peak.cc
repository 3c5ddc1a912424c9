// The most that the cores can multiply, measured: what a model's speed is held against.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/fail.h"
#include "device/device_set.h"
#include "kernels/kernels.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

/// A product that L1 holds: 24 KiB of rows, a panel of at most 8 KiB. Returns its
/// operations.
class Int8Loop {
 public:
  explicit Int8Loop(const kernels::KernelTable& table)
      : table_(table), memory_(allocate_host(kBytes)) {
    std::fill_n(memory_, kBytes, std::byte{1});
  }
  Int8Loop(const Int8Loop&) = delete;
  Int8Loop& operator=(const Int8Loop&) = delete;
  ~Int8Loop() { free_host(memory_); }

  double operator()() const {
    constexpr int kTimes = 200;
    auto* a = reinterpret_cast<uint8_t*>(memory_);
    auto* b = reinterpret_cast<int8_t*>(memory_ + kPart);
    auto* acc = reinterpret_cast<int32_t*>(memory_ + 2 * kPart);
    for (int i = 0; i < kTimes; ++i) {
      table_.int8->multiply({a, kDepth, kRows, kDepth, b, table_.nr, acc, memory_ + kPart, 0});
    }
    return 2.0 * kTimes * kRows * kDepth * static_cast<double>(table_.nr);
  }

 private:
  static constexpr int64_t kRows = 96, kDepth = 256;
  static constexpr size_t kPart = kRows * kDepth, kBytes = 3 * kPart;
  const kernels::KernelTable& table_;
  std::byte* memory_;
};

template <class Loop>
double best_rate(const Loop& loop, std::chrono::milliseconds time) {
  double best = 0;
  for (const auto end = Clock::now() + time; Clock::now() < end;) {
    const auto begin = Clock::now();
    const double operations = loop();
    best = std::max(best, operations / std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

}  // namespace

double cpu_peak(const std::string& isa, bool int8, int threads) {
  const kernels::KernelTable* table =
      isa.empty() ? kernels::supported_tables().front() : kernels::find_table(isa);
  if (table == nullptr) fail(ErrorCode::kInvalidArgument, "isa \"{}\" is not available", isa);
  constexpr std::chrono::milliseconds kTime(60);
  std::vector<double> rates(static_cast<size_t>(std::max(1, threads)));
  std::vector<std::thread> others;
  // All at once: cores that work together may run slower than one alone.
  const auto measure = [&](size_t i) {
    rates[i] = int8 ? best_rate(Int8Loop(*table), kTime) : best_rate(table->fma_loop, kTime);
  };
  for (size_t i = 1; i < rates.size(); ++i) others.emplace_back(measure, i);
  measure(0);
  for (std::thread& thread : others) thread.join();
  double sum = 0;
  for (double rate : rates) sum += rate;
  return sum;
}

}  // namespace tamis
