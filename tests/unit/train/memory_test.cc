// A step that the machine has no memory for goes through in parts.

#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <fstream>

#include "train_bench.h"

namespace tamis::training {
namespace {

size_t virtual_bytes() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

/// One step over several hundred groups.
TrainOptions large_step(const Folder& folder, const std::string& out) {
  const std::string lines = text_of(source("tests/fixtures/train/data.jsonl"));
  std::string many;
  for (int i = 0; i < 100; ++i) many += lines;
  TrainOptions o = small_run(folder / out);
  o.train_data = {folder.write("many.jsonl", many)};
  o.per_device_train_batch_size = 600;
  o.max_steps = 1;
  o.threads = 1;
  // Else a first step is the gradient's sign, also where that is nothing but rounding.
  o.adam_epsilon = 1e-4;
  return o;
}

TEST(Memory, AStepThatHasNoneForItsBatchIsTheSameStepInParts) {
  if (TAMIS_SANITIZED) GTEST_SKIP() << "a sanitizer's own memory is without bounds";
  Folder folder;
  size_t activations = 0;
  TrainEvents events;
  events.planned = [&](const TrainPlan& plan) { activations = plan.activation_bytes; };
  train(large_step(folder, "free"), events);
  ASSERT_GT(activations, size_t{100} << 20) << "else the bound below would mean nothing";

  // In a process of its own, for which address space ends while it trains.
  const pid_t child = fork();
  if (child == 0) {
    std::vector<std::string> said;
    TrainOptions o = large_step(folder, "bounded");
    o.log = [&](LogLevel level, std::string_view text) {
      if (level == LogLevel::kWarning) said.emplace_back(text);
    };
    TrainEvents bound;
    bound.planned = [&](const TrainPlan& plan) {
      const rlimit limit = {virtual_bytes() + plan.activation_bytes / 2, RLIM_INFINITY};
      setrlimit(RLIMIT_AS, &limit);
    };
    try {
      train(o, bound);
      const bool told =
          !said.empty() && std::all_of(said.begin(), said.end(), [](const auto& text) {
            return text.starts_with("no memory for ");
          });
      _exit(told ? 0 : 2);
    } catch (const std::exception& error) {
      fprintf(stderr, "%s\n", error.what());
      _exit(1);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 0) << "1: an error; 2: no memory was missed";
  const auto whole = io::Checkpoint::open(folder / "free");
  const auto parts = io::Checkpoint::open(folder / "bounded");
  for (const TensorView& t : whole.tensors()) {
    const TensorView* other = parts.find(t.name);
    ASSERT_NE(other, nullptr);
    std::vector<float> a(static_cast<size_t>(element_count(t.shape))), b(a.size());
    convert_to_f32(t.dtype, t.bytes.data(), a.data(), a.size());
    convert_to_f32(other->dtype, other->bytes.data(), b.data(), b.size());
    EXPECT_LT(largest_difference(b, a), 1e-4) << t.name;
  }
}

}  // namespace
}  // namespace tamis::training
