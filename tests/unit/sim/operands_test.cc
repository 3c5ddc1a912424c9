// Every op with every operand: the host's arithmetic to the bit, and no address that is not the
// device's.

#include <fmt/format.h>

#include "op_cases.h"

namespace tamis {
namespace {

TEST(SimOps, AreTheHostsToTheBit) {
  Sim sim;
  for (int64_t rows : {0, 1, 2, 7, 33}) {
    for (auto [heads, head_dim] : {std::pair(1, 1), {2, 3}, {4, 8}, {3, 20}}) {
      const Cases cases(*sim.host, rows, heads, head_dim);
      for (const OpCase& op_case : cases.all()) {
        OnDevice on_host(sim.host, op_case), on_sim(sim.device, op_case);
        on_host.run();
        on_sim.run();
        EXPECT_EQ(on_host.contents(), on_sim.contents())
            << op_case.op << ", " << rows << " rows, " << heads << " heads of " << head_dim;
      }
    }
  }
}

/// Calls check(op, name of operand) for every operand of every op.
void for_each_operand(Sim& sim,
                      const std::function<void(const OpCase&, const std::string&)>& check) {
  const Cases cases(*sim.host, 7, 2, 8);
  for (const OpCase& op_case : cases.all()) {
    for (const auto& [name, operand] : op_case.operands) {
      SCOPED_TRACE(op_case.op + " " + name);
      check(op_case, name);
    }
  }
}

TEST(SimOps, RefuseAHostPointerForAnyOperand) {
  Sim sim;
  for_each_operand(sim, [&](const OpCase& op_case, const std::string& name) {
    OnDevice on_sim(sim.device, op_case), on_host(sim.host, op_case);
    on_sim.places.by_name[name] = on_host.places.by_name[name];
    on_sim.run();
    expect_error(ErrorCode::kInternal,
                 {"sim:0: " + op_case.op + ": " + name + ",",
                  fmt::format(" at {}, ", fmt::ptr(on_host.places.by_name[name])),
                  "is not memory of sim:0: a host pointer"},
                 [&] { on_sim.synchronize(); });
  });
}

TEST(SimOps, RefuseAnotherDevicesPointerForAnyOperand) {
  Sim sim, other("", "sim:1");
  for_each_operand(sim, [&](const OpCase& op_case, const std::string& name) {
    OnDevice here(sim.device, op_case), there(other.device, op_case);
    here.places.by_name[name] = there.places.by_name[name];
    here.run();
    expect_error(ErrorCode::kInternal, {op_case.op + ": " + name + ",", "another device's"},
                 [&] { here.synchronize(); });
  });
}

TEST(SimOps, RefuseAnyOperandThatIsFreedBeforeTheyRun) {
  Sim sim;
  for_each_operand(sim, [&](const OpCase& op_case, const std::string& name) {
    OnDevice on_sim(sim.device, op_case);
    on_sim.run();
    on_sim.free(name);
    expect_error(ErrorCode::kInternal, {op_case.op + ": " + name + ",", "it has been freed"},
                 [&] { on_sim.synchronize(); });
  });
}

TEST(SimOps, RefuseAnyOperandThatIsOneElementTooShort) {
  Sim sim;
  for_each_operand(sim, [&](const OpCase& op_case, const std::string& name) {
    const size_t element = op_case.operands.at(name).element_bytes;
    OnDevice on_sim(sim.device, op_case, element, name);
    on_sim.run();
    expect_error(ErrorCode::kInternal,
                 {op_case.op + ": " + name + ",",
                  fmt::format("it ends {} bytes after its allocation", element)},
                 [&] { on_sim.synchronize(); });
  });
}

/// An op of which one index is wrong.
void expect_index_refused(const std::string& op, const std::string& name, size_t at, int32_t value,
                          const std::string& message) {
  Sim sim;
  const Cases cases(*sim.host, 7, 2, 8);
  for (OpCase op_case : cases.all()) {
    if (op_case.op != op) continue;
    std::memcpy(op_case.operands.at(name).initial.data() + at * sizeof value, &value, sizeof value);
    OnDevice on_sim(sim.device, op_case);
    on_sim.run();
    expect_error(ErrorCode::kInternal, {"sim:0: " + op + ": " + message},
                 [&] { on_sim.synchronize(); });
    return;
  }
  FAIL() << "no op " << op;
}

TEST(SimOps, RefuseIndicesThatLeadOutside) {
  expect_index_refused("embed_layer_norm", "ids", 3, 7, "ids[3] is 7, expected 0 to 6");
  expect_index_refused("embed_layer_norm", "ids", 0, -1, "ids[0] is -1, expected 0 to 6");
  expect_index_refused("embed_layer_norm", "positions", 6, 11,
                       "positions[6] is 11, expected 0 to 10");
  expect_index_refused("embed_layer_norm", "type_ids", 0, 2, "type_ids[0] is 2, expected 0 to 1");
  expect_index_refused("embed_layer_norm", "cu_seqlens", 1, 8,
                       "cu_seqlens[1] is 8, expected 0 to 7");
  expect_index_refused("attention", "cu_keys", 4, 8, "cu_keys[4] is 8, expected 6 to 7");
  expect_index_refused("attention", "cu_queries", 2, 0, "cu_queries[2] is 0, expected 1 to 7");
  expect_index_refused("gather_rows", "rows", 2, 7, "rows[2] is 7, expected 0 to 6");
  expect_index_refused("mean_rows", "cu_seqlens", 1, 0, "cu_seqlens[1] is 0, expected 1 to 7");
}

TEST(SimOps, RefuseShapesThatDoNotFitTogether) {
  Sim sim;
  const auto stream = sim.stream();
  const Buffer buffer = sim.allocate_floats(100);
  float* p = floats(buffer);
  const auto fails = [&](const std::string& message) {
    expect_error(ErrorCode::kInternal, {message}, [&] { stream->synchronize(kSoon); });
  };
  stream->ops().add_layer_norm(Mat(p, 2, 3), Mat(p, 2, 4), {p, p, 0}, Mat(p, 2, 3));
  fails("add_layer_norm: residual is [2, 4], expected [2, 3]");
  stream->ops().mean_rows(Mat(p, 0, 3), nullptr, Mat(p, 0, 4));
  fails("mean_rows: y is [0, 4], expected [0, 3]");
  stream->ops().l2_normalize(Mat(p, 2, 3, 2));
  fails("l2_normalize: y is [2, 3] of stride 2");
  stream->ops().linear({3, 4, DType::kF32, buffer.data(), 10}, Mat(p, 1, 3), Activation::kNone,
                       Mat(p, 1, 4));
  fails("linear: weights is not of the size that Device::linear_bytes says");
  stream->ops().set_scratch({buffer.data() + 4, 64});
  stream->ops().l2_normalize(Mat(p, 2, 3));
  fails("l2_normalize: scratch is not aligned to 64 bytes");
}

TEST(SimOps, UseTheScratchOfTheMomentWhenTheyWereCalled) {
  Sim sim;
  const auto stream = sim.stream();
  const Buffer data = sim.allocate_floats(10);
  write(*stream, floats(data), std::vector<float>(10, 3.0f));
  const Buffer good = sim.allocate(64);
  const std::byte* freed = sim.allocate(64).data();
  stream->ops().set_scratch({good.data(), 64});
  stream->ops().l2_normalize(Mat(floats(data), 1, 1));
  stream->ops().set_scratch({const_cast<std::byte*>(freed), 64});
  EXPECT_NO_THROW(stream->synchronize(kSoon));
  EXPECT_EQ(read(*stream, floats(data), 2), (std::vector<float>{1.0f, 3.0f}));
  stream->ops().l2_normalize(Mat(floats(data) + 1, 1, 1));
  stream->ops().set_scratch({good.data(), 64});
  expect_error(ErrorCode::kInternal, {"l2_normalize: scratch", "it has been freed"},
               [&] { stream->synchronize(kSoon); });
}

TEST(SimOps, PackInHostMemoryAsTheHostDoes) {
  Sim sim;
  const std::vector<float> weight{1, 2, 3, 4, 5, 6};
  const TensorView w{"w", DType::kF32, {2, 3}, std::as_bytes(std::span(weight))};
  const size_t bytes = sim.device->linear_bytes(3, 2, DType::kF32);
  ASSERT_EQ(bytes, sim.host->linear_bytes(3, 2, DType::kF32));
  alignas(64) std::byte ours[4096] = {}, hosts[4096] = {};
  ASSERT_LE(bytes, sizeof ours);
  sim.stream()->ops().pack_linear({{&w}, {nullptr}}, DType::kF32, ours);
  sim.host->make_stream(Cases::one_thread())
      ->ops()
      .pack_linear({{&w}, {nullptr}}, DType::kF32, hosts);
  EXPECT_EQ(std::memcmp(ours, hosts, sizeof ours), 0);
}

}  // namespace
}  // namespace tamis
