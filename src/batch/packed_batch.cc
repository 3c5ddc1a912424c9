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

std::vector<size_t> longest_first(std::span<const SequenceView> sequences) {
  std::vector<size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return sequences[a].ids.size() > sequences[b].ids.size();
  });
  return order;
}

size_t leading_batch(std::span<const SequenceView> sequences, std::span<const size_t> tickets,
                     size_t token_budget) {
  size_t count = 0, tokens = 0;
  while (count < tickets.size()) {
    tokens += sequences[tickets[count]].ids.size();
    if (count > 0 && tokens > token_budget) break;
    ++count;
  }
  return count;
}

}  // namespace tamis
