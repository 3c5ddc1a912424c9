#include "dto/common.h"

#include <chrono>
#include <cmath>
#include <limits>

namespace tamis::server {
namespace {

LongText read_long(const Fields& fields) {
  const std::string_view named = fields.choice("long", {"truncate", "error", "chunk"}, "");
  if (named == "error") return LongText::kRefuse;
  if (named == "chunk") return LongText::kChunk;
  const bool chunks = named.empty() && fields.count("max_chunks_per_doc") > 1;
  return chunks ? LongText::kChunk : LongText::kTruncate;
}

}  // namespace

Lengths read_lengths(const Fields& fields) {
  Lengths out;
  out.max_length = fields.count("max_length");
  if (out.max_length == 0) {
    const auto asked = fields.integer_if("truncate_prompt_tokens", -1, Fields::kMaxCount);
    // vLLM's -1 is "as much as the model takes", which is clamped from anything larger.
    if (asked) out.max_length = static_cast<size_t>(*asked < 0 ? Fields::kMaxCount : *asked);
  }
  out.document_tokens = fields.count("max_tokens_per_doc");
  if (out.document_tokens == 0) out.document_tokens = fields.count("max_doc_length");
  out.query_max_length = fields.count("query_max_length");
  if (out.query_max_length == 0) out.query_max_length = fields.count("max_tokens_per_query");
  out.long_texts = read_long(fields);
  out.keep_end = fields.choice("truncation_side", {"left", "right"}, "right") == "left";
  return out;
}

Lengths read_tei_lengths(const Fields& fields) {
  if (fields.has("prompt_name")) {
    refuse(fields.path("prompt_name"), "none, as this server puts no prompts before texts",
           "the name of one");
  }
  Lengths out = read_lengths(fields);
  if (!fields.flag_or("truncate", true)) out.long_texts = LongText::kRefuse;
  out.keep_end = fields.choice("truncation_direction", {"Left", "Right"}, "Right") == "Left";
  return out;
}

Urgency read_urgency(const Fields& fields, PriorityOrder order) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  Urgency out;
  if (const auto priority = fields.integer_if("priority", -kMost, kMost)) {
    out.priority = static_cast<int>(order == PriorityOrder::kLowerFirst ? -*priority : *priority);
  }
  out.timeout_ms = fields.integer_if("timeout_ms", 1, kMost);
  return out;
}

void write_usage(io::JsonWriter& json, const RunStats& stats) {
  json.key("usage").begin_object().key("prompt_tokens").unsigned_integer(stats.tokens);
  json.key("total_tokens").unsigned_integer(stats.tokens).end_object();
}

void write_account(io::JsonWriter& json, const Answer& answer) {
  const RunStats& stats = answer.stats;
  json.key("usage").begin_object().key("tokens").unsigned_integer(stats.tokens);
  json.key("truncated").unsigned_integer(stats.truncated);
  json.key("utf8_replacements").unsigned_integer(stats.utf8_replacements).end_object();
  json.key("timings").begin_object().key("tokenize_ms").number(rounded(stats.tokenize_ms));
  json.key("queue_ms").number(rounded(stats.queue_ms));
  json.key("inference_ms").number(rounded(stats.inference_ms));
  json.key("total_ms").number(rounded(answer.total_ms)).end_object();
}

void write_meta(io::JsonWriter& json, std::string_view api_version, std::string_view billed,
                size_t units, const RunStats& stats) {
  json.key("meta").begin_object();
  json.key("api_version").begin_object().key("version").string(api_version).end_object();
  json.key("billed_units").begin_object().key(billed).unsigned_integer(units).end_object();
  json.key("tokens").begin_object().key("input_tokens").unsigned_integer(stats.tokens);
  json.key("output_tokens").integer(0).end_object().end_object();
}

int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

double rounded(double ms) { return std::round(ms * 1000) / 1000; }

}  // namespace tamis::server
