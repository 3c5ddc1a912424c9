#pragma once

// What the two kinds of model have in common: a pre-token becomes ids.

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace tamis::text {

class Model {
 public:
  /// One step of a Viterbi search. Kept between pieces so that a text costs few allocations.
  struct Node {
    double score;
    uint32_t length;  ///< bytes of the piece that ends here; 0: not reached yet
    int32_t id;
  };
  using Scratch = std::vector<Node>;

  virtual ~Model() = default;
  virtual std::string_view type() const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual int32_t unknown_id() const = 0;
  /// Appends the ids of one pre-token, not empty and valid UTF-8.
  virtual void encode(std::string_view piece, Scratch& scratch,
                      std::vector<int32_t>& ids) const = 0;
};

}  // namespace tamis::text
