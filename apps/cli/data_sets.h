#pragma once

// Data sets of evaluation, as they lie on disk: where their files are, and what is in them.

#include <string>
#include <vector>

#include "tamis/evaluate.h"
#include "tamis/index.h"

namespace tamis::cli {

/// One split of a data set.
struct DataSetFiles {
  enum class Queries {
    kJsonLines,     ///< {"_id" or "id", "text"}
    kTopics,        ///< MIRACL: id, tab, text
    kWithPassages,  ///< MLDR: {"query_id", "query", "positive_passages", "negative_passages"}
  };
  std::string name;  ///< FlagEmbedding's key: "ar-dev", or the split where the set has no name
  Queries layout = Queries::kJsonLines;
  std::string judgements;  ///< empty: they are with the queries
  std::string queries;
  std::vector<std::string> corpus;  ///< {"_id", "id" or "docid", "title"?, "text"}
};

/// The splits of the data sets `names` below a directory; of all that are there if no name is
/// given, or of the directory itself if it is a data set. Layouts:
///   FlagEmbedding  corpus.jsonl, <split>_queries.jsonl, <split>_qrels.jsonl
///   BEIR           corpus.jsonl, queries.jsonl, qrels/<split>.tsv
///   MIRACL         topics/topics.*-<split>.tsv, qrels/qrels.*-<split>.tsv; corpus.jsonl or
///                  docs-*.jsonl there or in miracl-corpus-v1.0-<name>, beside the directory or in
///                  miracl-corpus beside its parent
///   MLDR           corpus.jsonl, <split>.jsonl
/// A name stands for its directory: itself, miracl-v1.0-<name> or mldr-v1.0-<name>.
/// Errors: not_found (says what was looked for), unimplemented (a file that is still compressed).
std::vector<DataSetFiles> find_data_sets(const std::string& directory,
                                         const std::vector<std::string>& names,
                                         const std::vector<std::string>& splits);

struct JudgedQuery {
  std::string id;
  std::string text;
};

struct JudgedData {
  std::vector<Passage> corpus;  ///< a document's text is "title text" [FlagEmbedding, searcher.py]
  std::vector<JudgedQuery> queries;  ///< those that are judged
  Judgements judgements;
};

/// Errors: data_loss (file, line, field, what was expected, what came), not_found.
JudgedData read_data_set(const DataSetFiles& files);

}  // namespace tamis::cli
