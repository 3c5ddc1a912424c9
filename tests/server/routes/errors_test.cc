// What goes wrong, in the words of each dialect.

#include <functional>
#include <new>
#include <stdexcept>

#include "dto/error_body.h"
#include "served.h"

namespace tamis::server {
namespace {

Json body_of(Dialect dialect, const HttpError& error) {
  return Json::parse(error_response(dialect, error).body);
}

const HttpError kBadField{400, "invalid_argument", "top_n: wrong", {}, "top_n"};

TEST(ErrorBody, Own) {
  EXPECT_EQ(body_of(Dialect::kOwn, kBadField),
            Json::parse(R"({"error":{"code":"invalid_argument","message":"top_n: wrong",
                                     "field":"top_n"}})"));
}

TEST(ErrorBody, OpenAi) {
  EXPECT_EQ(body_of(Dialect::kOpenAi, kBadField),
            Json::parse(R"({"error":{"message":"top_n: wrong","type":"invalid_request_error",
                                     "param":"top_n","code":"invalid_argument"}})"));
  const Json error = body_of(Dialect::kOpenAi, {429, "overloaded", "later"})["error"];
  EXPECT_EQ(error["type"], "rate_limit_error");
  EXPECT_TRUE(error["param"].is_null());
}

TEST(ErrorBody, TeiCapitalisesItsTypesAndHasStatusesOfItsOwn) {
  const auto said = [](const HttpError& error) {
    const Response response = error_response(Dialect::kTei, error);
    const Json body = Json::parse(response.body);
    EXPECT_EQ(keys(body), "error error_type");
    return std::to_string(response.status) + " " + body["error_type"].get<std::string>();
  };
  EXPECT_EQ(said(kBadField), "422 Validation");
  EXPECT_EQ(said({400, "empty", ""}), "400 Empty");
  EXPECT_EQ(said({400, "invalid_json", ""}), "400 Validation");
  EXPECT_EQ(said({400, "wrong_model", ""}), "424 Backend");
  EXPECT_EQ(said({500, "inference", "NaN"}), "424 Backend");
  EXPECT_EQ(said({413, "too_large", ""}), "413 Validation");
  EXPECT_EQ(said({429, "overloaded", ""}), "429 Overloaded");
  EXPECT_EQ(said({503, "unavailable", ""}), "503 Unhealthy");
  EXPECT_EQ(said({504, "timeout", ""}), "504 Backend");
}

TEST(ErrorBody, Cohere) {
  EXPECT_EQ(body_of(Dialect::kCohere, kBadField), Json::parse(R"({"message":"top_n: wrong"})"));
}

TEST(ErrorBody, JinaCohereV1AndVllmAtOnce) {
  EXPECT_EQ(body_of(Dialect::kJina, kBadField),
            Json::parse(R"({"detail":"top_n: wrong","message":"top_n: wrong",
                "error":{"code":400,"message":"top_n: wrong","type":"invalid_request_error",
                         "param":"top_n"}})"));
}

TEST(ErrorBody, LlamaCpp) {
  EXPECT_EQ(body_of(Dialect::kLlamaCpp, {500, "internal", "no"}),
            Json::parse(R"({"error":{"code":500,"message":"no","type":"server_error",
                                     "param":null}})"));
  const Response wrong = error_response(Dialect::kLlamaCpp, {400, "wrong_model", "no"});
  EXPECT_EQ(wrong.status, 501);
  EXPECT_EQ(Json::parse(wrong.body)["error"]["type"], "not_supported_error");
}

TEST(ErrorBody, EveryStatusInEveryDialect) {
  for (const Dialect dialect : {Dialect::kOwn, Dialect::kOpenAi, Dialect::kTei, Dialect::kCohere,
                                Dialect::kJina, Dialect::kLlamaCpp}) {
    for (const int status :
         {401, 403, 404, 405, 408, 413, 415, 422, 429, 431, 499, 500, 501, 503, 504}) {
      const Response response = error_response(dialect, {status, "some", "\xff \"why\""});
      EXPECT_EQ(response.status, status);
      EXPECT_TRUE(Json::accept(response.body)) << response.body;
      EXPECT_NE(status_phrase(status), "Unknown") << status;
    }
  }
  EXPECT_EQ(status_phrase(799), "Unknown");
}

TEST(ErrorBody, RetryAfterIsInWholeSecondsRoundedUp) {
  const auto after = [](double seconds) {
    const Response response =
        error_response(Dialect::kOpenAi, {429, "overloaded", "later", seconds});
    return std::string(response.headers.get("retry-after")) + " " +
           std::string(response.headers.get("retry-after-ms"));
  };
  EXPECT_EQ(after(0.2), "1 200");
  EXPECT_EQ(after(2.0001), "3 2001");
  EXPECT_EQ(after(0), "1 1");
  EXPECT_EQ(after(1e30), "3600 3600000");
  const Response none = error_response(Dialect::kOwn, {429, "overloaded", "later"});
  EXPECT_EQ(none.headers.get("retry-after"), "");
}

std::function<void()> throws;  // what the route below does, which is a plain function

/// The answer of a route that throws, while a model runs or not.
Response thrown(Served& served, Dialect dialect, const std::function<void()>& what,
                bool running = true, std::string* logged = nullptr) {
  throws = what;
  const auto run = [](Call& call) -> Response {
    call.report.task = "rerank";
    throws();
    return {};
  };
  const auto idle = [](Call&) -> Response {
    throws();
    return {};
  };
  const Route route{
      .method = "POST", .path = "/x", .run = running ? +run : +idle, .dialect = dialect};
  Request request;
  request.stop = served.stop.get_token();
  Call call{request, served.services};
  Response out = run_route(route, call);
  if (logged != nullptr) *logged = call.report.error;
  return out;
}

TEST(RunRoute, ErrorsOfTheLibraryHaveTheirStatuses) {
  Served served({});
  const auto status = [&](ErrorCode code, Dialect dialect, bool running = true) {
    return thrown(
               served, dialect, [&] { throw Error(code, "why"); }, running)
        .status;
  };
  EXPECT_EQ(status(ErrorCode::kInvalidArgument, Dialect::kOwn), 400);
  EXPECT_EQ(status(ErrorCode::kInvalidArgument, Dialect::kTei), 422);
  EXPECT_EQ(status(ErrorCode::kNotFound, Dialect::kOwn), 404);
  EXPECT_EQ(status(ErrorCode::kUnimplemented, Dialect::kOwn), 501);
  EXPECT_EQ(status(ErrorCode::kUnavailable, Dialect::kOwn), 503);
  EXPECT_EQ(status(ErrorCode::kResourceExhausted, Dialect::kOwn), 503);
  EXPECT_EQ(status(ErrorCode::kInternal, Dialect::kOwn), 500);
  // A NaN that came out of a layer; and a damaged file, where no model ran.
  EXPECT_EQ(status(ErrorCode::kDataLoss, Dialect::kOwn), 500);
  EXPECT_EQ(status(ErrorCode::kDataLoss, Dialect::kTei), 424);
  EXPECT_EQ(status(ErrorCode::kDataLoss, Dialect::kOwn, false), 422);
  EXPECT_EQ(status(ErrorCode::kCancelled, Dialect::kOwn), 504);
  served.stop.request_stop();
  EXPECT_EQ(status(ErrorCode::kCancelled, Dialect::kOwn), 499);
}

TEST(RunRoute, NothingInsideIsTold) {
  Served served({});
  std::string logged;
  for (const auto& what :
       {std::function<void()>([] { throw std::logic_error("secret"); }),
        std::function<void()>([] { throw Error(ErrorCode::kInternal, "secret"); })}) {
    const Response error = thrown(served, Dialect::kOpenAi, what, true, &logged);
    expect_status(error, 500);
    EXPECT_EQ(error.body.find("secret"), std::string::npos);
    EXPECT_EQ(logged, "secret");
  }
  expect_status(thrown(served, Dialect::kOwn, [] { throw 7; }), 500);
  const Response memory = thrown(served, Dialect::kOwn, [] { throw std::bad_alloc(); });
  expect_status(memory, 503);
  EXPECT_EQ(memory.headers.get("retry-after"), "1");
}

TEST(Body, IsCheckedBeforeItIsRead) {
  Served served({"xlmr-ce"});
  const auto status = [&](const std::string& body, HeaderList headers = {}) {
    const Response response = served.send("POST", "/v1/rerank", body, headers);
    EXPECT_TRUE(Json::parse(response.body).contains("detail")) << response.body;
    return response.status;
  };
  EXPECT_EQ(status(""), 400);
  EXPECT_EQ(status("{"), 400);
  EXPECT_EQ(status("[]"), 400);
  EXPECT_EQ(status("null"), 400);
  EXPECT_EQ(status("{} x"), 400);
  EXPECT_EQ(status("{\"query\":\"\xff\xfe\",\"documents\":[\"a\"]}"), 400);
  EXPECT_EQ(status("{\"query\":\"\\ud800\",\"documents\":[\"a\"]}"), 400);
  EXPECT_EQ(status("{\"query\":" + std::string(5000, '[') + std::string(5000, ']') + "}"), 400);
  EXPECT_EQ(status(R"({"query":"a","query":"b","documents":["a"]})"), 400);
  EXPECT_EQ(status("{}", {{"Content-Type", "multipart/form-data; boundary=x"}}), 415);
  EXPECT_EQ(status("{}", {{"Content-Type", "text/html"}}), 415);
}

TEST(Body, TypesThatToolsSendByThemselvesAreLetPass) {
  Served served({"xlmr-ce"});
  const Json body = {{"query", "a"}, {"documents", {"b"}}};
  for (const std::string type : {"application/json", "application/json; charset=utf-8", "",
                                 "application/x-www-form-urlencoded", "text/plain"}) {
    expect_status(served.post("/v1/rerank", body, {{"content-type", type}}), 200);
  }
}

TEST(Headers, PriorityAndTimeLimit) {
  Served served({"xlmr-ce"});
  const Json body = {{"query", "a"}, {"documents", {"b"}}};
  expect_status(served.post("/v1/rerank", body, {{"X-Tamis-Priority", "-3"}}), 200);
  expect_status(served.post("/v1/rerank", body, {{"x-tamis-timeout-ms", "60000"}}), 200);
  expect_status(served.post("/v1/rerank", body, {{"x-tamis-priority", "high"}}), 400);
  expect_status(served.post("/v1/rerank", body, {{"x-tamis-timeout-ms", "0"}}), 400);
  expect_status(served.post("/v1/rerank", body, {{"x-tamis-timeout-ms", "99999999999"}}), 400);
}

TEST(Headers, AStoppedRequestIsNoLongerAnswered) {
  Served served({"xlmr-ce"});
  served.stop.request_stop();
  expect_status(served.post("/v1/rerank", {{"query", "a"}, {"documents", {"b"}}}), 499);
}

TEST(Headers, ThePassedDeadlineOfABodyIs504) {
  Served served({"xlmr-ce"});
  Request request;
  request.method = "POST";
  request.path = "/rerank";
  request.received = std::chrono::steady_clock::now() - std::chrono::seconds(10);
  request.body = R"({"query":"a","texts":["b"],"timeout_ms":5000})";
  Call call{request, served.services};
  const Response response = answer(call);
  expect_status(response, 504);
  EXPECT_EQ(Json::parse(response.body)["error_type"], "Backend");
}

}  // namespace
}  // namespace tamis::server
