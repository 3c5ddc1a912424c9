// Whatever the bytes of a text, each tokenizer gives ids inside its vocabulary, and the same ids
// for the text with its ill-formed parts repaired. The first byte picks the tokenizer.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "io/file_map.h"
#include "io/utf8.h"
#include "text/tokenizer.h"

namespace {

using tamis::text::Tokenizer;

/// The tokenizer in the first line of a fixture of tests/fixtures/pipelines.
std::shared_ptr<const Tokenizer> fixture(const char* name) {
  const std::string path = std::string(TAMIS_SOURCE_DIR "/tests/fixtures/pipelines/") + name;
  const std::string text = tamis::io::read_text_file(path);
  constexpr std::string_view kKey = "\"tokenizer\":";
  const size_t begin = text.find(kKey) + kKey.size();
  const size_t end = text.rfind('}', text.find('\n'));
  return Tokenizer::from_json(std::string_view(text).substr(begin, end - begin), name);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::array tokenizers = {fixture("xlmr-reranker.jsonl"),
                                        fixture("xlmr-m3.jsonl"),
                                        fixture("bert.jsonl"),
                                        fixture("added-tokens.jsonl"),
                                        fixture("first-charsmap.jsonl"),
                                        fixture("nmt-nfkc.jsonl"),
                                        fixture("regex-replace.jsonl"),
                                        fixture("digits-merged.jsonl"),
                                        fixture("bert-bare.jsonl"),
                                        fixture("prepend-replace.jsonl"),
                                        fixture("first-after-strip.jsonl")};
  if (size == 0) return 0;
  const Tokenizer& tokenizer = *tokenizers[data[0] % tokenizers.size()];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string repaired;
  const size_t replaced = tamis::io::append_repaired_utf8(repaired, text);
  std::vector<int32_t> ids, again;
  if (tokenizer.encode(text, ids) != replaced) std::abort();
  if (tokenizer.encode(repaired, again) != 0 || ids != again) std::abort();
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= tokenizer.vocab_size()) std::abort();
  }
  return 0;
}
