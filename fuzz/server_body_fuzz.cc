// Whatever the body of a request, the answer has a status, and JSON in it where it says so. The
// first line is the path, the rest the body. CMake builds one program for each dialect, which runs
// the routes of that one alone. What changes the models is left out: it opens the files that a body
// names.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "io/json.h"
#include "routes/router.h"
#include "service/model_set.h"

namespace {

using namespace tamis::server;

constexpr std::string_view kDialect = TAMIS_FUZZ_DIALECT;

ModelSource source(const char* name) {
  ModelSource out;
  out.id = name;
  out.directory = std::string(TAMIS_SOURCE_DIR "/tests/fixtures/models/") + name;
  out.max_length = 24;  // short, as the model is not what is tested
  out.options.threads = 1;
  return out;
}

/// A cross-encoder, and an embedder that can do everything else.
ModelSet& models() {
  static ModelSet set;
  static const bool loaded = [] {
    set.load(source("xlmr-ce"));
    set.load(source("xlmr-m3"));
    return true;
  }();
  (void)loaded;
  return set;
}

/// llama.cpp and infinity have no route of their own: /rerank tells them from TEI by their fields.
bool in_dialect(const Route& route) {
  switch (route.dialect) {
    case Dialect::kOwn:
      return kDialect == "own";
    case Dialect::kOpenAi:
      return kDialect == "openai";
    case Dialect::kCohere:
      return kDialect == "cohere";
    case Dialect::kJina:
      return kDialect == "jina";
    case Dialect::kTei:
    case Dialect::kLlamaCpp:
      return kDialect == "tei" || (kDialect == "llamacpp" && route.path.starts_with("/rerank"));
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Services services = {.models = models(),
                                    .stats = [] { return std::string("{}"); },
                                    .metrics = [] { return std::string(); },
                                    .ready = [] { return true; }};
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\n');
  if (end == std::string_view::npos) return -1;
  Request request;
  request.method = "POST";
  request.path = input.substr(0, end);
  request.body = input.substr(end + 1);
  const Match match = Router().find(request.method, request.path);
  // -1: libFuzzer keeps no such input, so that it spends its time on bodies.
  if (match.route == nullptr || match.route->admin || !in_dialect(*match.route)) return -1;
  Call call{request, services};
  const Response response = answer(call);
  if (response.status < 200 || response.status > 599) std::abort();
  // Nothing that a body says may be a defect of the server.
  if (response.status == 500) std::abort();
  if (response.content_type == "application/json") {
    tamis::io::JsonDocument::parse(response.body, "the answer");  // throws if it is none
  }
  return 0;
}
