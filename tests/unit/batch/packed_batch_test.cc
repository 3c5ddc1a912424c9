#include "batch/packed_batch.h"

#include <gtest/gtest.h>

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

/// Sequences of these lengths.
std::vector<SequenceView> of_lengths(const std::vector<size_t>& lengths) {
  static const Ids ids(3000, 7);
  std::vector<SequenceView> out;
  for (size_t length : lengths) out.push_back({std::span(ids).first(length), {}});
  return out;
}

TEST(LongestFirst, SortsByLengthAndKeepsTheOrderOfEqualOnes) {
  EXPECT_EQ(longest_first(of_lengths({10, 50, 20, 50})), (std::vector<size_t>{1, 3, 2, 0}));
  EXPECT_TRUE(longest_first({}).empty());
}

TEST(LeadingBatch, TakesWhatFitsTheBudget) {
  const auto sequences = of_lengths({10, 50, 20, 50});
  const std::vector<size_t> tickets{1, 3, 2, 0};
  EXPECT_EQ(leading_batch(sequences, tickets, 99), 1u);
  EXPECT_EQ(leading_batch(sequences, tickets, 100), 2u);
  EXPECT_EQ(leading_batch(sequences, tickets, 119), 2u);
  EXPECT_EQ(leading_batch(sequences, tickets, 130), 4u);
}

TEST(LeadingBatch, ASequenceBeyondTheBudgetRunsAlone) {
  const auto sequences = of_lengths({900, 5, 5});
  EXPECT_EQ(leading_batch(sequences, std::vector<size_t>{0, 1, 2}, 100), 1u);
  EXPECT_EQ(leading_batch(sequences, std::vector<size_t>{1, 2}, 1), 1u);
}

}  // namespace
}  // namespace tamis
