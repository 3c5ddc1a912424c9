#pragma once

// The files of evaluation: judgements and runs. data_sets.h: whole data sets.

#include <string>
#include <string_view>

#include "io/json.h"
#include "tamis/evaluate.h"

namespace tamis::cli {

/// By what the first line is: JSON lines of {"qid", "docid", "relevance"} (FlagEmbedding), a table
/// with the header query-id, corpus-id, score (BEIR), or TREC's four columns. Errors: not_found,
/// data_loss (file, line, what was expected).
Judgements read_judgements(const std::string& path);

/// TREC's six columns, JSON lines of {"query_id", "hits": [{"id", "score"}]}, or FlagEmbedding's
/// one object with search_results. Errors: as read_judgements.
SearchRun read_run(const std::string& path);
/// TREC's six columns, the best first.
void write_run(const std::string& path, const SearchRun& run, const std::string& tag);

/// A name that JSON may have as a number.
std::string name_of(const io::JsonValue& value, std::string_view what);

}  // namespace tamis::cli
