#include "tamis/model_inputs.h"

#include "batch/pair_rule.h"

namespace tamis {

void ModelInputs::add(std::string_view query, std::span<const std::string> passages, size_t limit) {
  std::vector<int32_t> query_ids, passage;
  tokenizer_.encode(query, query_ids);
  if (!pairs_ && tokens_ < limit) add_single(query_ids);
  for (const std::string& text : passages) {
    if (tokens_ >= limit) return;
    passage.clear();
    tokenizer_.encode(text, passage);
    if (!pairs_) {
      add_single(passage);
      continue;
    }
    std::vector<int32_t> query_cut = query_ids;
    cut_pair(query_cut, passage, {max_length_, 0, tokenizer_.pair_overhead()});
    keep(tokenizer_.build_pair(query_cut, passage));
  }
}

void ModelInputs::add_single(std::vector<int32_t> ids) {
  cut_single(ids, max_length_, tokenizer_.single_overhead());
  keep(tokenizer_.build_single(ids));
}

void ModelInputs::keep(text::Encoding encoding) {
  tokens_ += encoding.ids.size();
  inputs_.add(std::move(encoding));
}

}  // namespace tamis
