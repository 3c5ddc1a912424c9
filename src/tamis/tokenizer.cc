#include "tamis/tokenizer.h"

#include "base/fail.h"
#include "batch/pair_rule.h"
#include "tamis/tokenizer_access.h"
#include "text/truncate.h"

namespace tamis {

struct Tokenizer::Impl {
  std::shared_ptr<const text::Tokenizer> tokenizer;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer TokenizerAccess::of(std::shared_ptr<const text::Tokenizer> tokenizer) {
  auto impl = std::make_unique<Tokenizer::Impl>();
  impl->tokenizer = std::move(tokenizer);
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::load(const std::filesystem::path& model_directory, const LogSink& log) {
  return TokenizerAccess::of(text::Tokenizer::load(model_directory, log));
}

TokenizedInput Tokenizer::encode(std::string_view text, size_t max_length) const {
  const text::Tokenizer& tokenizer = *impl_->tokenizer;
  TokenizedInput out;
  std::vector<int32_t> ids;
  out.utf8_replacements = tokenizer.encode(text, ids);
  if (max_length > 0) out.truncated = cut_single(ids, max_length, tokenizer.single_overhead());
  text::Encoding encoding = tokenizer.build_single(ids);
  out.ids = std::move(encoding.ids);
  out.type_ids = std::move(encoding.type_ids);
  return out;
}

namespace {

void cut(std::vector<int32_t>& query, std::vector<int32_t>& passage, size_t max_length,
         size_t overhead, PairTruncation truncation) {
  const size_t room = max_length > overhead ? max_length - overhead : 0;
  switch (truncation) {
    case PairTruncation::kFlagEmbedding:
      cut_pair(query, passage, {max_length, 0, overhead});
      return;
    case PairTruncation::kLongestFirst:
      text::truncate_longest_first(query, passage, room);
      return;
    case PairTruncation::kOnlySecond:
      if (text::truncate_only_second(query, passage, room)) return;
      fail(ErrorCode::kInvalidArgument,
           "only_second: the query alone has {} tokens and {} special ones are added, which leaves "
           "no passage within max_length {}",
           query.size(), overhead, max_length);
  }
}

}  // namespace

TokenizedInput Tokenizer::encode_pair(std::string_view query, std::string_view passage,
                                      size_t max_length, PairTruncation truncation) const {
  const text::Tokenizer& tokenizer = *impl_->tokenizer;
  TokenizedInput out;
  std::vector<int32_t> a, b;
  out.utf8_replacements = tokenizer.encode(query, a) + tokenizer.encode(passage, b);
  if (max_length > 0) {
    const size_t before = a.size() + b.size();
    cut(a, b, max_length, tokenizer.pair_overhead(), truncation);
    out.truncated = a.size() + b.size() < before;
  }
  text::Encoding encoding = tokenizer.build_pair(a, b);
  out.ids = std::move(encoding.ids);
  out.type_ids = std::move(encoding.type_ids);
  return out;
}

size_t Tokenizer::vocab_size() const { return impl_->tokenizer->vocab_size(); }
std::string_view Tokenizer::id_to_token(int32_t id) const {
  return impl_->tokenizer->id_to_token(id);
}
int32_t Tokenizer::token_to_id(std::string_view token) const {
  return impl_->tokenizer->token_to_id(token);
}
std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  return impl_->tokenizer->decode(ids);
}
std::string_view Tokenizer::model_type() const { return impl_->tokenizer->model_type(); }

}  // namespace tamis
