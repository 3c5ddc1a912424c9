#pragma once

// What the tests of training's ops on a card share: the card, and the ref device beside it.

#include <numeric>

#include "on_card.h"

namespace tamis {

inline double sum_tolerance(int64_t k) { return 32 * std::sqrt(static_cast<double>(k)) * 0x1p-24; }

inline std::vector<uint32_t> noise_rows(int64_t n) {
  std::vector<uint32_t> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 70u);
  return out;
}

/// What the ref device works with.
class Ref {
 public:
  TrainOps& ops() { return *stream_->train_ops(); }

 private:
  std::shared_ptr<Device> device_ = DeviceSet({}).open(parse_device_name("ref"));
  std::shared_ptr<Stream> stream_ = device_->make_stream({1, {}});
};

class CudaTrainOpsTest : public testing::TestWithParam<bool> {
 protected:
  CudaTrainOpsTest() {
    emulation::settings().last_warp_first = GetParam();
    card_ = std::make_unique<OnCard>();
    ops().set_scratch(card_->allocate(ops().scratch_bytes({700, 300, 600, 64})));
  }
  TrainOps& ops() { return *card_->stream().train_ops(); }
  TrainOps& want() { return ref_.ops(); }
  Mat put(GuardedMat& m) { return card_->put(m); }
  template <class T>
  T* put(const std::vector<T>& values) {
    return card_->put(values);
  }
  /// The card's matrix against ref's.
  void expect_got(Mat on_card, GuardedMat& got, const GuardedMat& expected, double tolerance,
                  const std::string& what) {
    card_->get(on_card, got);
    expect_near(got, expected, tolerance, what);
  }

  FakeMachine machine_;
  std::unique_ptr<OnCard> card_;
  Ref ref_;
  std::mt19937 random_{20261130};
};

}  // namespace tamis
