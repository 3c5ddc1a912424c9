#pragma once

#include <memory>

#include "tamis/tokenizer.h"
#include "text/tokenizer.h"

namespace tamis {

/// Makes the public class of a tokenizer that is there already.
struct TokenizerAccess {
  static Tokenizer of(std::shared_ptr<const text::Tokenizer> tokenizer);
};

}  // namespace tamis
