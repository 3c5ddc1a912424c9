#pragma once

// The files of evaluation: judgements, runs, and data sets in BEIR's and FlagEmbedding's layouts.

#include <string>
#include <vector>

#include "tamis/evaluate.h"
#include "tamis/index.h"

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

struct JudgedQuery {
  std::string id;
  std::string text;
};

/// corpus.jsonl with {"_id" or "id", "title"?, "text"}; queries.jsonl or <split>_queries.jsonl;
/// qrels/<split>.tsv or <split>_qrels.jsonl. A document's text is "title text"
/// [FlagEmbedding/abc/evaluation/data_loader.py].
struct JudgedData {
  std::vector<Passage> corpus;
  std::vector<JudgedQuery> queries;  ///< those that are judged
  Judgements judgements;
};
JudgedData read_judged_data(const std::string& directory, const std::string& split);

}  // namespace tamis::cli
