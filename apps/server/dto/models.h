#pragma once

// What is loaded: its description, and the requests that change it.

#include <string>
#include <string_view>
#include <vector>

#include "dto/fields.h"
#include "service/model_set.h"
#include "tamis/place.h"

namespace tamis::server {

/// OpenAI's list, with what our clients want to know besides.
std::string write_models(const std::vector<ModelSet::Ref>& models);
/// One of them, with its placement, memory plan and load.
std::string write_model(const ServedModel& model);

/// {"id", "directory", "aliases", "device", "dtype", "threads", "memory_limit", "batch_tokens",
/// "max_length", "pooling"}; the rest is as `defaults` say.
ModelSource read_model_source(const Fields& fields, const LoadOptions& defaults);
/// {"id", "object", "deleted": true}
std::string write_unloaded(std::string_view id);

/// {"device", "dtype", "threads", "memory_limit", "batch_tokens"}
struct MoveAsk {
  std::string device;
  MoveOptions options;
};
MoveAsk read_move(const Fields& fields);
/// The report, and where the model is now.
std::string write_move(const MoveReport& report, const ServedModel& model);

struct Trimmed {
  std::string id;
  size_t bytes = 0;
};
std::string write_trimmed(const std::vector<Trimmed>& models);

}  // namespace tamis::server
