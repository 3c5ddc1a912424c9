#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tamis {

/// Token ids of one model input; not owned.
struct SequenceView {
  std::span<const int32_t> ids;
  std::span<const int32_t> type_ids;  ///< same length, or empty: all 0
};

/// How a model counts positions.
struct PositionRule {
  /// False (BERT): 0, 1, 2, ... True (RoBERTa): pad_id + 1, + 2, ... over the ids that are not
  /// pad_id, which themselves stay at pad_id [transformers create_position_ids_from_input_ids].
  bool after_padding = false;
  int32_t pad_id = 0;
};

/// Sequences laid end to end; there is no padding anywhere.
struct PackedBatch {
  std::vector<int32_t> ids;         ///< [tokens]
  std::vector<int32_t> positions;   ///< [tokens]
  std::vector<int32_t> type_ids;    ///< [tokens]
  std::vector<int32_t> cu_seqlens;  ///< [sequences + 1]: sequence i is [cu[i], cu[i+1])
  std::vector<size_t> tickets;      ///< [sequences]: the caller's index of each sequence

  size_t tokens() const { return ids.size(); }
  size_t sequences() const { return tickets.size(); }
};

/// Lays out sequences[ticket] for each ticket, in that order. Every sequence has at least one id.
PackedBatch pack(std::span<const SequenceView> sequences, std::span<const size_t> tickets,
                 const PositionRule& rule);

/// Cuts sequences of these lengths into batches of at most token_budget tokens, longest first; a
/// longer sequence gets a batch of its own. Every index appears exactly once.
std::vector<std::vector<size_t>> plan_batches(std::span<const size_t> lengths, size_t token_budget);

}  // namespace tamis
