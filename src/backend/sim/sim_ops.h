#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "backend/sim/sim_memory.h"
#include "backend/sim/sim_operands.h"
#include "backend/sim/sim_queue.h"
#include "backend/sim/sim_state.h"
#include "device/device.h"

namespace tamis {

/// What the device, its streams and their events share.
struct SimCore {
  SimCore(const std::string& device, std::shared_ptr<SimState> shared_state,
          std::shared_ptr<Device> host_device);

  const std::string name;
  const std::shared_ptr<SimState> state;
  const std::shared_ptr<Device> host;
  const std::shared_ptr<Stream> arithmetic;  ///< of the host; used by the one command that runs
  SimMemory memory;
  SimQueue queue;
};

/// What the host's streams do the work with: one thread, so that results are always the same.
StreamOptions sim_host_options();

/// Puts each op into the lane with a copy of its arguments and of the scratch of that moment; when
/// it runs, its operands are checked and the host's ops do the arithmetic.
class SimOps : public Ops {
 public:
  SimOps(std::shared_ptr<SimCore> core, std::shared_ptr<SimLane> lane,
         const StreamOptions& options);

  void pack_linear(const LinearSource& source, DType dtype, std::byte* out) override;
  void set_scratch(std::span<std::byte> scratch) override;
  void embed_layer_norm(const EmbeddingWeights& weights, const BatchView& batch, Mat out) override;
  void linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) override;
  void add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& weights,
                      Mat y) override;
  void attention(const AttentionView& a, Mat out) override;
  void gather_rows(ConstMat x, const int32_t* rows, Mat y) override;
  void mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) override;
  void max_rows(ConstMat x, bool more, Mat y) override;
  void l2_normalize(Mat y) override;

 private:
  /// Does the op on the host's addresses; returns its floating point operations.
  using Body = std::function<double(SimOperands& operands, Ops& host)>;
  void submit(std::string_view op, Body body);

  std::shared_ptr<SimCore> core_;
  std::shared_ptr<SimLane> lane_;
  StreamOptions packing_options_;
  std::shared_ptr<Stream> packing_;  // of the host; made when first needed
  std::span<std::byte> scratch_;
};

}  // namespace tamis
