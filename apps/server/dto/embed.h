#pragma once

// Requests to embed, and their answers, in every dialect.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dto/common.h"
#include "dto/fields.h"
#include "tamis/embedder.h"

namespace tamis::server {

/// What a request to embed comes to, whatever its dialect: texts, or ids.
struct EmbedAsk {
  Body body;  ///< `texts` are views of it
  std::string_view model = {};
  std::vector<std::string_view> texts = {};
  std::vector<std::vector<int32_t>> ids = {};  ///< complete sequences, special tokens included
  bool dense = true, sparse = false, colbert = false, hidden_states = false;
  size_t dimension = 0;
  std::optional<bool> normalize = {};
  Lengths lengths = {};
  Urgency urgency = {};
  // Of the answer.
  bool base64 = false;                       ///< OpenAI
  std::vector<std::string_view> types = {};  ///< Cohere: "float", "int8", ...
};

/// {"input": string | [string] | [int] | [[int]], "model", "encoding_format", "dimensions"}
EmbedAsk read_openai_embed(Body body);
std::string write_openai_embed(const EmbedAsk& ask, const Embeddings& out, const Answer& answer);

/// {"inputs": as above, "normalize", "truncate", "truncation_direction", "dimensions"}
EmbedAsk read_tei_embed(Body body, bool normalize = true);
/// [[number, ...], ...]
std::string write_tei_embed(const Embeddings& out);
/// [[{"index", "value"}, ...], ...]
std::string write_tei_sparse(const Embeddings& out);
/// [[[number, ...], ...], ...]
std::string write_tei_tokens(const Embeddings& out);

/// {"texts", "input_type", "embedding_types", "truncate", "output_dimension", "max_tokens"}
EmbedAsk read_cohere_embed(Body body);
/// `api_version` is "1" or "2"; version 1 gives bare vectors where no embedding_types are named.
/// Vectors have length 1; int8 is the vector times 127, uint8 that and 128, ubinary its signs,
/// eight to a byte, the first in the highest bit, and binary that less 128.
std::string write_cohere_embed(const EmbedAsk& ask, const Embeddings& out, const Answer& answer,
                               std::string_view api_version);

}  // namespace tamis::server
