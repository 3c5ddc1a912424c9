#pragma once

// Which model directory a command uses.

#include <filesystem>
#include <string>
#include <string_view>

namespace tamis::cli {

inline constexpr std::string_view kDefaultReranker = "tamis-reranker-small";
inline constexpr std::string_view kDefaultEmbedder = "multilingual-e5-small";

/// `given` if it is not empty; else $TAMIS_MODEL; else the model `name` in .cache/models of the
/// source tree that this executable was built in, then in $XDG_CACHE_HOME/tamis/models (or
/// ~/.cache/tamis/models).
/// Errors: not_found, with every place that was looked at.
std::filesystem::path find_model(const std::string& given, std::string_view name);

}  // namespace tamis::cli
