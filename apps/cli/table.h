#pragma once

// Results as a table for people.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tamis/reranker.h"

namespace tamis::cli {

struct RerankTable {
  std::span<const RerankResult> results;
  std::span<const std::string> passages;  ///< of the request, by index
  std::span<const std::string> labels;    ///< of the model, for results with several logits
  bool sigmoid = false;                   ///< a column of scores in the place of logits
  size_t columns = 0;                     ///< of the terminal; 0: passages are not cut
  bool bold = false;                      ///< the heading
};

void write_table(std::string& out, const RerankTable& table);

}  // namespace tamis::cli
