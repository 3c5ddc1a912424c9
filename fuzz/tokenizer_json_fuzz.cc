// Whatever the bytes of a tokenizer file, loading gives an Error or a tokenizer whose ids stay
// inside its vocabulary. JSON begins with a brace; anything else is taken as a sentencepiece model.

#include <cstdint>
#include <cstdlib>

#include "tamis/error.h"
#include "text/tokenizer.h"

using tamis::ErrorCode;
using tamis::text::Tokenizer;

namespace {

void check_ids(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= tokenizer.vocab_size()) std::abort();
    (void)tokenizer.id_to_token(id);
  }
}

void use(const Tokenizer& tokenizer) {
  using namespace std::string_view_literals;
  std::vector<int32_t> ids;
  for (const auto text :
       {""sv, "a b  ab. \0<s>"sv, " \xc3\xa9\xe2\x96\x81 a\xcc\x81 \xff<mask> B"sv,
        "\xe1\x84\x80\xe1\x85\xa1\xe4\xb8\xad 12\r\n\xef\xac\x81"sv}) {
    tokenizer.encode(text, ids);
  }
  check_ids(tokenizer, ids);
  const auto pair = tokenizer.build_pair(ids, ids);
  check_ids(tokenizer, pair.ids);
  check_ids(tokenizer, tokenizer.build_single(ids).ids);
  if (pair.ids.size() != pair.type_ids.size()) std::abort();
  (void)tokenizer.token_to_id("a");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    use(file.starts_with('{') ? *Tokenizer::from_json(file, "fuzz")
                              : *Tokenizer::from_sentencepiece(file, "fuzz"));
  } catch (const tamis::Error& error) {
    if (error.code() != ErrorCode::kDataLoss && error.code() != ErrorCode::kUnimplemented) {
      std::abort();
    }
  }
  return 0;
}
