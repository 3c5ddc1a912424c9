#include <exception>
#include <new>

#include "dto/error_body.h"
#include "routes/router.h"
#include "routes/work.h"

namespace tamis::server {
namespace {

/// A call ends early because its client has gone, or because its time is over.
HttpError cancelled(const Call& call, const Error& error) {
  if (call.request.stop.stop_requested()) return {499, "cancelled", "the client has gone"};
  return {504, "timeout", error.what()};
}

HttpError inside(Call& call, const char* what) {
  call.report.error = what;
  return {500, "internal", "an error inside the server; its log says more"};
}

HttpError told(Call& call, const Error& error) {
  const ErrorCodeInfo& row = info(error.code());
  const std::string type(row.name);
  switch (error.code()) {
    case ErrorCode::kCancelled:
      return cancelled(call, error);
    case ErrorCode::kResourceExhausted:
      return {503, type, error.what(), 1.0};
    case ErrorCode::kUnavailable:
      return {503, type, error.what(), 1.0};
    case ErrorCode::kDataLoss:
      // While a model runs, this is a NaN that came out of a layer; else a file is at fault.
      if (!call.report.task.empty()) return {500, "inference", error.what()};
      break;
    case ErrorCode::kInternal:
      return inside(call, error.what());
    default:
      break;
  }
  return {row.http_status, type, error.what()};
}

HttpError current(Call& call) {
  try {
    throw;
  } catch (const HttpError& error) {
    return error;
  } catch (const Error& error) {
    return told(call, error);
  } catch (const std::bad_alloc&) {
    return {503, "resource_exhausted", "the server has no memory for this request now", 1.0};
  } catch (const std::exception& error) {
    return inside(call, error.what());
  } catch (...) {
    return inside(call, "an exception of unknown type");
  }
}

/// What is left to say where not even the error's words could be made.
Response last_resort() {
  Response out;
  out.status = 503;
  return out;
}

}  // namespace

Response run_route(const Route& route, Call& call) {
  try {
    call.dialect = route.dialect;
    try {
      Response out = route.run(call);
      add_timings(out, call);
      return out;
    } catch (...) {
      return error_response(call.dialect, current(call));
    }
  } catch (...) {
    return last_resort();
  }
}

}  // namespace tamis::server
