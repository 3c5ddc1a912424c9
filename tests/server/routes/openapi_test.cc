// The OpenAPI document names exactly the routes that there are.

#include <set>

#include "served.h"
#include "web/web.h"

namespace tamis::server {
namespace {

Json document() { return Json::parse(web_file("openapi.json")); }

TEST(OpenApi, NamesEveryRouteAndNoOther) {
  std::set<std::string> described, there;
  const Json paths = document().at("paths");
  for (const auto& [path, methods] : paths.items()) {
    for (const auto& [method, operation] : methods.items()) {
      if (method == "parameters") continue;
      std::string name = method;
      for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      described.insert(name + " " + path);
      EXPECT_TRUE(operation.contains("summary")) << name << " " << path;
      EXPECT_TRUE(operation.at("responses").contains("200") ||
                  operation.at("responses").contains("201"))
          << name << " " << path;
    }
  }
  for (const Route& route : all_routes()) {
    there.insert(std::string(route.method) + " " + std::string(route.path));
  }
  EXPECT_EQ(described, there);
}

void expect_references(const Json& whole, const Json& part) {
  if (part.is_object() && part.contains("$ref")) {
    const std::string target = part["$ref"].get<std::string>().substr(1);
    EXPECT_TRUE(whole.contains(Json::json_pointer(target))) << target;
  }
  if (!part.is_structured()) return;
  for (const auto& [key, value] : part.items()) expect_references(whole, value);
}

TEST(OpenApi, EveryReferenceHasATarget) {
  const Json whole = document();
  EXPECT_EQ(whole.at("openapi"), "3.1.0");
  expect_references(whole, whole);
}

/// What a reference means, or the value itself.
const Json& resolved(const Json& whole, const Json& part) {
  if (!part.contains("$ref")) return part;
  return whole[Json::json_pointer(part["$ref"].get<std::string>().substr(1))];
}

/// The bodies that the document shows for POST.
Json examples_of(const Json& whole, const Json& operation) {
  if (!operation.contains("requestBody")) return Json::array();
  const Json& body = resolved(whole, operation["requestBody"])["content"]["application/json"];
  if (body.contains("example")) return Json::array({body["example"]});
  Json out = Json::array();
  for (const auto& [name, example] : body.at("examples").items()) out.push_back(example["value"]);
  return out;
}

TEST(OpenApi, ItsExamplesWork) {
  Served served({"xlmr-m3", "xlmr-ce"});
  size_t tried = 0;
  const Json whole = document();
  for (const auto& [path, methods] : whole.at("paths").items()) {
    if (!methods.contains("post") || path.starts_with("/v1/models")) continue;
    for (const Json& example : examples_of(whole, methods["post"])) {
      // Any name will do only where one model is loaded.
      Json body = example;
      body.erase("model");
      const Response response = served.post(path, body);
      EXPECT_EQ(response.status, 200) << path << " " << body << ": " << response.body;
      ++tried;
    }
  }
  EXPECT_GE(tried, 24u);
}

}  // namespace
}  // namespace tamis::server
