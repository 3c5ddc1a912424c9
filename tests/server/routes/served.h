#pragma once

// A server without sockets: tiny models, and requests that go from the request line to the answer.

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "routes/router.h"
#include "service/model_set.h"

namespace tamis::server {

using Json = nlohmann::json;

inline const std::filesystem::path kModels =
    std::filesystem::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models";

inline ModelSource source(const std::string& name) {
  ModelSource out;
  out.id = name;
  out.directory = kModels / name;
  out.options.threads = 1;
  if (name == "xlmr-bi-mlm") out.options.pooling = Pooling::kSplade;
  return out;
}

/// Loaded once for all tests: they are never changed.
inline std::shared_ptr<const ServedModel> loaded(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const ServedModel>> models;
  auto& model = models[name];
  if (!model) model = ServedModel::load(source(name));
  return model;
}

using HeaderList = std::initializer_list<std::pair<std::string, std::string>>;

class Served {
 public:
  Served(std::initializer_list<std::string> names) {
    for (const std::string& name : names) models.load(source(name));
  }

  /// `inspect` sees the call afterwards.
  Response send(const std::string& method, const std::string& path, const std::string& body = {},
                HeaderList headers = {}, const std::function<void(const Call&)>& inspect = {}) {
    Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.stop = stop.get_token();
    for (const auto& [name, value] : headers) request.headers.add(name, value);
    Call call{request, services};
    call.id = "42";
    Response out = answer(call);
    if (inspect) inspect(call);
    return out;
  }
  Response post(const std::string& path, const Json& body, HeaderList headers = {}) {
    return send("POST", path, body.dump(), headers);
  }
  /// The answer to a request that must succeed.
  Json good(const std::string& path, const Json& body, HeaderList headers = {}) {
    const Response response = post(path, body, headers);
    EXPECT_EQ(response.status, 200) << path << " " << body << ": " << response.body;
    return Json::parse(response.body);
  }
  Json get(const std::string& path) {
    const Response response = send("GET", path);
    EXPECT_EQ(response.status, 200) << path << ": " << response.body;
    return Json::parse(response.body);
  }

  ModelSet models;
  std::stop_source stop;
  bool is_ready = true;
  Services services = {.models = models,
                       .stats = [] { return std::string("{\"requests\":1}"); },
                       .metrics = [] { return std::string("tamis_requests 1\n"); },
                       .ready = [this] { return is_ready; },
                       .max_body_bytes = 1000,
                       .max_concurrent_requests = 512,
                       .max_tokens_in_flight = 9999};
};

inline void expect_status(const Response& response, int status) {
  EXPECT_EQ(response.status, status) << response.body;
}

/// `{}` in the place of a Json is null, which nothing can be added to.
inline Json with(Json body, const Json& more) {
  if (more.is_object()) body.update(more);
  return body;
}

/// The names of an object's members, sorted.
inline std::string keys(const Json& object) {
  std::string out;
  for (const auto& [key, value] : object.items()) out += (out.empty() ? "" : " ") + key;
  return out;
}

inline const std::string kQuery = "where do pandas live";
inline const std::vector<std::string> kPassages = {"the weather", "pandas live in China",
                                                   "a llama in the garden", ""};

/// What the library says of them by itself.
inline std::vector<RerankResult> reference(const std::string& model, const std::string& query,
                                           const std::vector<std::string>& passages,
                                           RerankOptions options = {}) {
  const std::vector<std::string_view> views(passages.begin(), passages.end());
  if (options.max_length == 512) options.max_length = loaded(model)->max_length(0);
  return loaded(model)->reranker()->rerank(query, views, options);
}

inline Embeddings reference_vectors(const std::string& model, const std::vector<std::string>& texts,
                                    const EmbedOptions& options = {}) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  return loaded(model)->embedder()->embed(views, options);
}

/// A row of numbers is the library's, to the last bit: floats are written so that they read back.
inline void expect_row(const Json& numbers, std::span<const float> row) {
  ASSERT_EQ(numbers.size(), row.size());
  for (size_t i = 0; i < row.size(); ++i) EXPECT_EQ(numbers[i].get<float>(), row[i]);
}

}  // namespace tamis::server
