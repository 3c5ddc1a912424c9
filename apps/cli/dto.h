#pragma once

// Every JSON text that the command line reads or writes.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/bench.h"
#include "tamis/device.h"
#include "tamis/doctor.h"
#include "tamis/embedder.h"
#include "tamis/error.h"
#include "tamis/index.h"
#include "tamis/model.h"
#include "tamis/quantize.h"
#include "tamis/reranker.h"
#include "tamis/selftest.h"
#include "tamis/tokenizer.h"

namespace tamis::cli {

enum class JsonLayout { kLine, kIndented };

/// {"query": string, "passages": [string, ...]}; other members are ignored.
struct RerankLine {
  std::string query;
  std::vector<std::string> passages;
};

/// {"text": string}, or {"query": string, "passage": string} where pairs are allowed.
struct TextLine {
  std::string text;  ///< or the query
  std::optional<std::string> passage;
};

/// {"text"}, and perhaps "id" (a string or a number; else the number of the line in the corpus) and
/// "title", which stands before the text. Errors: data_loss.
Passage parse_passage_line(std::string_view line, const std::string& where, size_t number,
                           size_t& utf8_replacements);

struct SearchHit {
  std::string id;
  std::string text;
  double score = 0;
};

/// {"hits":[{"rank","id","score","text"}, ...]}
void write_hits(std::string& out, std::span<const SearchHit> hits, JsonLayout layout);

/// {"query", "passages", and perhaps "relevance": [number, ...]}. Errors: data_loss.
QuantizeRequest parse_quantize_line(std::string_view line, const std::string& where,
                                    size_t& utf8_replacements);
void write_quantize_report(std::string& out, const QuantizeReport& report, JsonLayout layout);

/// What `tamis bench --format json` says.
void write_bench(std::string& out, const BenchReport& report, JsonLayout layout);

/// Parses one line. `where` ("pairs.jsonl:7") begins every message. Ill-formed UTF-8 is repaired
/// first and counted in utf8_replacements; an escaped lone surrogate ("\ud800") is an error,
/// because it names no character that could be put in its place without changing what was meant.
/// Errors: data_loss, for a line that is not JSON, lacks a member, has one of another kind, or has
/// no passages.
RerankLine parse_rerank_line(std::string_view line, const std::string& where,
                             size_t& utf8_replacements);
TextLine parse_text_line(std::string_view line, const std::string& where, bool pairs_allowed,
                         size_t& utf8_replacements);

/// {"results":[{"index","logit","score","tokens","truncated"}, ...]}; models with several labels
/// have "logits" (all of them, by label) in the place of "logit" and "score".
void write_results(std::string& out, std::span<const RerankResult> results, JsonLayout layout);

/// What became of one text; what was not asked for is empty.
struct EmbeddedText {
  std::vector<float> dense;
  SparseVector sparse;
  std::vector<float> colbert;  ///< [tokens - 1, colbert_dimension]
  size_t colbert_dimension = 0;
};

/// {"embedding":[...]}, and where they were asked for {"sparse":{"<token id>":weight, ...}} and
/// {"colbert":[[...], ...]}.
void write_embedding(std::string& out, const EmbeddedText& text, const EmbedOptions& asked,
                     JsonLayout layout);

/// {"ids":[...]}, and {"tokens":[...]} with the pieces where they are wanted.
void write_tokens(std::string& out, const TokenizedInput& input,
                  std::span<const std::string_view> pieces, JsonLayout layout);

/// {"error":{"code","message","line"}}
void write_error(std::string& out, const Error& error, size_t line, JsonLayout layout);

/// What `tamis inspect --format json` says.
void write_description(std::string& out, const ModelDescription& model, std::string_view dtype,
                       std::span<const std::string> isas, JsonLayout layout);

/// {"devices":[{"name","kind","total_bytes","free_bytes",...}, ...]}; what is not known is null.
void write_devices(std::string& out, std::span<const DeviceStatus> devices, JsonLayout layout);
void write_selftest(std::string& out, const SelftestReport& report, JsonLayout layout);

/// {"findings":[{"id","severity","title","what","fix"}, ...], ...}
void write_report(std::string& out, const DoctorReport& report, JsonLayout layout);

/// What --timings says, in milliseconds of wall clock.
struct Timings {
  double load_ms = 0;
  double first_result_ms = 0;            ///< from the start of the process
  RunStats stats;                        ///< of the last repetition
  std::string_view sequences = "pairs";  ///< what they are called
  std::vector<double> inference_ms_all;  ///< a repetition each; empty without --repeat
  std::vector<double> total_ms_all;
  std::vector<double> cpu_ms_all;  ///< of all threads
};

void write_timings(std::string& out, const Timings& timings);

}  // namespace tamis::cli
