// What is loaded, and how the operator changes it while requests run.

#include "dto/models.h"

#include "routes/tables.h"
#include "routes/work.h"

namespace tamis::server {
namespace {

Response list(Call& call) { return json_response(write_models(call.services.models.all())); }

Response show(Call& call) {
  return json_response(write_model(*call.services.models.named(call.parameters.at(0))));
}

Response load(Call& call) {
  require_json_type(call.request);
  const Body body(call.request);
  const ModelSource source = read_model_source(*body, call.services.load_options);
  Response out = json_response(write_model(*call.services.models.load(source)));
  out.status = 201;
  return out;
}

Response unload(Call& call) {
  const std::string id = call.services.models.named(call.parameters.at(0))->id();
  call.services.models.unload(id);
  return json_response(write_unloaded(id));
}

Response move(Call& call) {
  require_json_type(call.request);
  const MoveAsk ask = read_move(*Body(call.request));
  const ModelSet::Ref model = call.services.models.named(call.parameters.at(0));
  const MoveReport report = call.services.models.move(model->id(), ask.device, ask.options);
  return json_response(write_move(report, *model));
}

/// Of one model, or of all where no body came.
Response trim(Call& call) {
  std::vector<ModelSet::Ref> models = call.services.models.all();
  if (!call.request.body.empty()) {
    const Body body(call.request);
    if (body->has("model")) models = {call.services.models.named(body->text("model"))};
  }
  std::vector<Trimmed> out;
  for (const ModelSet::Ref& model : models) out.push_back({model->id(), model->place().trim()});
  return json_response(write_trimmed(out));
}

constexpr Route kRoutes[] = {
    {.method = "GET", .path = "/v1/models", .run = list, .dialect = Dialect::kOpenAi},
    {.method = "GET", .path = "/models", .run = list, .dialect = Dialect::kOpenAi},
    {.method = "GET", .path = "/v1/models/{id}", .run = show, .dialect = Dialect::kOpenAi},
    {.method = "POST", .path = "/v1/models", .run = load, .admin = true},
    {.method = "DELETE", .path = "/v1/models/{id}", .run = unload, .admin = true},
    {.method = "POST", .path = "/v1/models/{id}/device", .run = move, .admin = true},
    {.method = "PUT", .path = "/v1/models/{id}/device", .run = move, .admin = true},
    {.method = "POST", .path = "/v1/admin/trim", .run = trim, .admin = true},
};

}  // namespace

std::span<const Route> model_routes() { return kRoutes; }

}  // namespace tamis::server
