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

/// Tickets of all sequences, longest first, ties by index.
std::vector<size_t> longest_first(std::span<const SequenceView> sequences);

/// How many of the leading tickets make one batch of at most token_budget tokens; at least one, for
/// a longer sequence runs alone. Expects at least one ticket.
size_t leading_batch(std::span<const SequenceView> sequences, std::span<const size_t> tickets,
                     size_t token_budget);

}  // namespace tamis
