#pragma once

// What a request is told when it fails.

#include <optional>
#include <string>

namespace tamis::server {

/// How a family of routes words its errors.
enum class Dialect {
  kOwn,       ///< {"error":{"code","message","field"}}
  kOpenAi,    ///< {"error":{"message","type","param","code"}}
  kTei,       ///< {"error","error_type"}; statuses of its own
  kCohere,    ///< {"message"}
  kJina,      ///< what Jina, Voyage, Cohere v1, vLLM and Xinference clients read, all at once
  kLlamaCpp,  ///< {"error":{"code":<status>,"message","type","param"}}, for infinity too
};

/// What a request is told, whatever the dialect. Routes throw it, or tamis::Error.
struct HttpError {
  int status = 400;
  /// Own words, mapped by the dialect: "invalid_argument", "invalid_json", "empty", "wrong_model",
  /// "not_found", "overloaded", "inference", ...
  std::string type = "invalid_argument";
  std::string message = {};
  std::optional<double> retry_after_s = {};
  std::string field = {};  ///< of the body, where one is at fault: "documents[3]"
};

}  // namespace tamis::server
