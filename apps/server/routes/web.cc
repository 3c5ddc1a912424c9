// The page, and the document that describes all routes.

#include "web/web.h"

#include "routes/tables.h"

namespace tamis::server {
namespace {

/// The page loads nothing from elsewhere, and nothing may frame it.
void protect(Headers& headers) {
  headers.add("Content-Security-Policy",
              "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
              "img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'");
  headers.add("X-Content-Type-Options", "nosniff");
  headers.add("Referrer-Policy", "no-referrer");
  headers.add("Cache-Control", "no-cache");
}

Response file(std::string_view name, std::string_view content_type) {
  const std::string_view content = web_file(name);
  if (content.empty()) throw HttpError{404, "not_found", "this build has no page"};
  Response out;
  out.content_type = content_type;
  out.body = content;
  protect(out.headers);
  return out;
}

Response page(Call&) { return file("index.html", "text/html; charset=utf-8"); }
Response style(Call&) { return file("style.css", "text/css; charset=utf-8"); }
Response script(Call& call) {
  return file(call.request.path.substr(1), "text/javascript; charset=utf-8");
}
Response description(Call&) { return file("openapi.json", "application/json"); }

constexpr Route open_file(std::string_view path, RouteFunction run) {
  return {.method = "GET", .path = path, .run = run, .open = true, .at_once = true};
}

constexpr Route kRoutes[] = {
    open_file("/", page),          open_file("/style.css", style),
    open_file("/app.js", script),  open_file("/api.js", script),
    open_file("/live.js", script), open_file("/openapi.json", description),
};

}  // namespace

std::span<const Route> web_routes() { return kRoutes; }

}  // namespace tamis::server
