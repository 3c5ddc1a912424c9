#pragma once

// What requests of several dialects have in common.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dto/fields.h"
#include "io/json_writer.h"
#include "tamis/types.h"

namespace tamis::server {

/// How long texts may be, and what becomes of longer ones.
struct Lengths {
  size_t max_length = 0;        ///< tokens of a pair or a text; 0 = the model's default
  size_t document_tokens = 0;   ///< tokens of the document alone; 0 = no such limit
  size_t query_max_length = 0;  ///< tokens of the query alone; 0 = by the library's rule
  LongText long_texts = LongText::kTruncate;
  bool keep_end = false;  ///< a text loses its beginning instead of its end
};

/// Of the body; what it does not say is left to the headers (see Call::control).
struct Urgency {
  std::optional<int> priority;  ///< higher goes first
  std::optional<int64_t> timeout_ms;
};

/// Every dialect's fields about length: max_length, truncate_prompt_tokens (of a pair),
/// max_tokens_per_doc, max_doc_length (of a document), query_max_length, max_tokens_per_query,
/// "long": "truncate" | "error" | "chunk", truncation_side; Cohere v1's max_chunks_per_doc above 1
/// asks for chunks.
Lengths read_lengths(const Fields& fields);
/// TEI's truncate and truncation_direction.
Lengths read_tei_lengths(const Fields& fields);

/// Cohere and vLLM count priorities the other way round: there the lower one goes first.
enum class PriorityOrder { kHigherFirst, kLowerFirst };
Urgency read_urgency(const Fields& fields, PriorityOrder order = PriorityOrder::kHigherFirst);

/// Of an answer.
struct Answer {
  std::string id;     ///< x-request-id
  std::string model;  ///< id of the one that ran
  RunStats stats;
  double total_ms = 0;
};

/// "usage":{"prompt_tokens","total_tokens"}
void write_usage(io::JsonWriter& json, const RunStats& stats);
/// "usage" and "timings", as our own routes say them.
void write_account(io::JsonWriter& json, const Answer& answer);
/// "meta" of Cohere's answers.
void write_meta(io::JsonWriter& json, std::string_view api_version, std::string_view billed,
                size_t units, const RunStats& stats);
int64_t unix_now();
/// Microseconds are enough for any time that is reported.
double rounded(double ms);

}  // namespace tamis::server
