#include "batch/packed_batch.h"

#include <algorithm>
#include <numeric>

namespace tamis {

PackedBatch pack(std::span<const SequenceView> sequences, std::span<const size_t> tickets,
                 const PositionRule& rule) {
  size_t tokens = 0;
  for (size_t ticket : tickets) tokens += sequences[ticket].ids.size();
  PackedBatch batch;
  batch.ids.reserve(tokens);
  batch.positions.reserve(tokens);
  batch.type_ids.reserve(tokens);
  batch.cu_seqlens.reserve(tickets.size() + 1);
  batch.cu_seqlens.push_back(0);
  batch.tickets.assign(tickets.begin(), tickets.end());
  for (size_t ticket : tickets) {
    const SequenceView& sequence = sequences[ticket];
    int32_t next = rule.after_padding ? rule.pad_id + 1 : 0;
    for (int32_t id : sequence.ids) {
      const bool padding = rule.after_padding && id == rule.pad_id;
      batch.positions.push_back(padding ? rule.pad_id : next++);
    }
    batch.ids.insert(batch.ids.end(), sequence.ids.begin(), sequence.ids.end());
    batch.type_ids.insert(batch.type_ids.end(), sequence.type_ids.begin(), sequence.type_ids.end());
    batch.type_ids.resize(batch.ids.size(), 0);
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.ids.size()));
  }
  return batch;
}

std::vector<std::vector<size_t>> plan_batches(std::span<const size_t> lengths,
                                              size_t token_budget) {
  std::vector<size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  std::vector<std::vector<size_t>> batches;
  size_t used = 0;
  for (size_t index : order) {
    if (batches.empty() || used + lengths[index] > token_budget) {
      batches.emplace_back();
      used = 0;
    }
    batches.back().push_back(index);
    used += lengths[index];
  }
  return batches;
}

}  // namespace tamis
