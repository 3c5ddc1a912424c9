#pragma once

// Several devices in one run: each rank has a copy of the model and its share of each batch, and
// what they add up makes their steps the same.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tamis/train.h"

namespace tamis::training {

/// All ranks make the same calls in the same order, each from one thread. Errors of every call:
/// unavailable (a rank has ended, or did not come within the timeout), internal (they do not make
/// the same call).
class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// What each rank gave, in the order of the ranks.
  virtual std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) = 0;
  /// x becomes the sum of all ranks' x, added in their order: the same bits on each.
  virtual void sum(std::span<float> x) = 0;
};

/// The same of values of one type.
template <class T>
std::vector<std::vector<T>> gather_values(Collective& collective, std::span<const T> mine) {
  std::vector<std::vector<T>> out;
  for (const auto& bytes : collective.gather(std::as_bytes(mine))) {
    const auto* begin = reinterpret_cast<const T*>(bytes.data());
    out.emplace_back(begin, begin + bytes.size() / sizeof(T));
  }
  return out;
}

/// A run of one.
class Alone : public Collective {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override {
    return {{mine.begin(), mine.end()}};
  }
  void sum(std::span<float>) override {}
};

/// Runs f(rank's collective) on `size` threads, the caller's being rank 0. If one ends with an
/// error the others' calls end with unavailable, and the first error is thrown.
void run_on_threads(int size, const std::function<void(const std::shared_ptr<Collective>&)>& f);

/// Processes, of any machines, over TCP. Rank 0 listens at ranks.port and adds up what the others
/// send: for a few machines. Nothing is encrypted, as with torch's own.
/// Errors: invalid_argument (numbers that make no sense, or two of the same rank), unavailable (the
/// others did not come within the timeout, or the address cannot be had).
std::shared_ptr<Collective> connect_ranks(const TrainRanks& ranks);

}  // namespace tamis::training
