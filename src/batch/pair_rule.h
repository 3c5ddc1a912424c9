#pragma once

// How a query and a passage share the tokens of one input. Works on ids, never on text.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tamis {

struct PairLimits {
  size_t max_length = 512;  ///< tokens of the pair, special ones included
  size_t query_length = 0;  ///< tokens of the query alone, without special ones; 0 = 3/4 max_length
  size_t overhead = 0;      ///< special tokens that the template adds to a pair
  bool keep_end = false;    ///< what is cut of a passage is its beginning
};

/// FlagEmbedding's rule [inference/reranker/encoder_only/base.py]: the query is cut to 3/4 of
/// max_length, then the end of the passage is cut until the pair fits. Where no passage is left to
/// cut (FlagEmbedding then leaves the pair over-long) the query is cut to what fits.
/// Returns whether anything was cut. Expects max_length >= overhead.
bool cut_pair(std::vector<int32_t>& query, std::vector<int32_t>& passage, const PairLimits& limits);

/// Keeps the first (or last) max_length - overhead ids. Returns whether anything was cut.
bool cut_single(std::vector<int32_t>& ids, size_t max_length, size_t overhead,
                bool keep_end = false);

/// Windows of `room` ids that cover all of them, each overlapping the one before by an eighth (at
/// most 64), the last one flush with the end. One window where all fit. Expects room > 0.
std::vector<std::span<const int32_t>> windows(std::span<const int32_t> ids, size_t room);

}  // namespace tamis
