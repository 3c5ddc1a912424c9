#include "batch/packed_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace tamis {
namespace {

using Ids = std::vector<int32_t>;

TEST(Pack, LaysSequencesEndToEndWithoutPadding) {
  const Ids a{0, 7, 2}, b{0, 2}, types{0, 0, 1};
  const std::vector<SequenceView> sequences = {{a, types}, {b, {}}};
  const std::vector<size_t> order{1, 0};
  const PackedBatch batch = pack(sequences, order, {});
  EXPECT_EQ(batch.ids, (Ids{0, 2, 0, 7, 2}));
  EXPECT_EQ(batch.type_ids, (Ids{0, 0, 0, 0, 1}));
  EXPECT_EQ(batch.positions, (Ids{0, 1, 0, 1, 2}));
  EXPECT_EQ(batch.cu_seqlens, (Ids{0, 2, 5}));
  EXPECT_EQ(batch.tickets, order);
}

TEST(Pack, RobertaCountsPositionsAfterThePaddingIdAndSkipsIt) {
  // "<pad>" written in a text is matched as a token; transformers leaves its position at pad_id.
  const Ids ids{0, 9, 1, 9, 2};
  const std::vector<SequenceView> sequences = {{ids, {}}};
  const PackedBatch batch = pack(sequences, std::vector<size_t>{0}, {true, 1});
  EXPECT_EQ(batch.positions, (Ids{2, 3, 1, 4, 5}));
}

TEST(PlanBatches, LongestFirstWithinTheBudget) {
  const std::vector<size_t> lengths{10, 50, 20, 50};
  const auto batches = plan_batches(lengths, 70);
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(batches[0], (std::vector<size_t>{1}));
  EXPECT_EQ(batches[1], (std::vector<size_t>{3, 2}));
  EXPECT_EQ(batches[2], (std::vector<size_t>{0}));
}

TEST(PlanBatches, ASequenceBeyondTheBudgetRunsAlone) {
  const auto batches = plan_batches(std::vector<size_t>{5, 900, 5}, 100);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0], (std::vector<size_t>{1}));
  EXPECT_EQ(batches[1], (std::vector<size_t>{0, 2}));
}

TEST(PlanBatches, NothingGivesNothing) { EXPECT_TRUE(plan_batches({}, 10).empty()); }

TEST(PlanBatches, EveryIndexExactlyOnceForRandomLengths) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<size_t> lengths(random() % 60);
    for (size_t& length : lengths) length = 1 + random() % 600;
    const size_t budget = 1 + random() % 2000;
    std::vector<int> seen(lengths.size(), 0);
    for (const auto& batch : plan_batches(lengths, budget)) {
      size_t tokens = 0;
      for (size_t index : batch) {
        ++seen[index];
        tokens += lengths[index];
      }
      EXPECT_TRUE(tokens <= budget || batch.size() == 1);
      EXPECT_FALSE(batch.empty());
    }
    EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
  }
}

}  // namespace
}  // namespace tamis
