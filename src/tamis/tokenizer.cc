#include "tamis/tokenizer.h"

#include "engine/pair_rule.h"
#include "text/tokenizer.h"
#include "text/truncate.h"

namespace tamis {

struct Tokenizer::Impl {
  std::shared_ptr<const text::Tokenizer> tokenizer;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

}  // namespace tamis
