#pragma once

#include <memory>

#include "tamis/embedder.h"
#include "tamis/session.h"

namespace tamis {

struct Embedder::Impl {
  std::shared_ptr<const Session> session;

  Embeddings embed(const Inputs& inputs, const EmbedOptions& options, RunStats& run) const;
  /// The ids of a text as the model takes them; what was replaced and cut is added to `run`.
  text::Encoding encode(std::string_view text, const EmbedOptions& options, size_t max_length,
                        RunStats& run) const;
};

}  // namespace tamis
