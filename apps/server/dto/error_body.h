#pragma once

#include "dto/http_error.h"
#include "transport/http.h"

namespace tamis::server {

/// The error in the words, and with the status, of the dialect. Retry-After is in whole seconds,
/// rounded up; retry-after-ms, which OpenAI's and Cohere's clients prefer, is exact.
Response error_response(Dialect dialect, const HttpError& error);

}  // namespace tamis::server
