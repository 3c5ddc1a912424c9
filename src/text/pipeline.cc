#include "text/pipeline.h"

#include <algorithm>

#include "io/utf8.h"
#include "text/utf8.h"

namespace tamis::text {

/// Scratch of one call of encode.
struct Pipeline::Buffers {
  Stretch stretch, spare_stretch;
  std::vector<AddedTokenFinder::Part> parts;
  Pieces pieces, spare_pieces;
  Model::Scratch scratch;
};

Pipeline::Pipeline(Config config) : config_(std::move(config)) {
  std::vector<AddedToken> raw, normalized;
  std::vector<std::string> raw_forms, normalized_forms;
  for (const AddedToken& token : config_.added) {
    if (!token.normalized) {
      raw.push_back(token);
      raw_forms.push_back(token.content);
      continue;
    }
    Stretch form{token.content, 0};
    Stretch spare;
    normalize(config_.normalizers, form, spare);
    normalized.push_back(token);
    normalized_forms.push_back(form.text);
  }
  raw_finder_ = AddedTokenFinder(std::move(raw), raw_forms);
  normalized_finder_ = AddedTokenFinder(std::move(normalized), normalized_forms);
  id_limit_ = id_limit(*config_.model, config_.added);
}

size_t Pipeline::encode(std::string_view text, std::vector<int32_t>& ids) const {
  std::string repaired;
  size_t replaced = 0;
  if (!io::is_utf8(text)) {
    replaced = io::append_repaired_utf8(repaired, text);
    text = repaired;
  }
  Buffers buffers;
  std::vector<AddedTokenFinder::Part> parts;
  raw_finder_.find(text, parts);
  for (const auto& part : parts) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      encode_between(text.substr(part.begin, part.end - part.begin), part.begin == 0, buffers, ids);
    }
  }
  return replaced;
}

void Pipeline::encode_between(std::string_view part, bool at_start, Buffers& buffers,
                              std::vector<int32_t>& ids) const {
  Stretch& stretch = buffers.stretch;
  stretch.text.assign(part);
  stretch.origin = at_start && !part.empty() ? utf8_length(part[0]) : 0;
  normalize(config_.normalizers, stretch, buffers.spare_stretch);

  buffers.parts.clear();
  normalized_finder_.find(stretch.text, buffers.parts);
  for (const auto& found : buffers.parts) {
    if (found.id >= 0) {
      ids.push_back(found.id);
      continue;
    }
    Pieces& pieces = buffers.pieces;
    pieces.text.assign(stretch.text, found.begin, found.end - found.begin);
    const size_t origin = stretch.origin > found.begin ? stretch.origin - found.begin : 0;
    pieces.spans.assign(1, {0, pieces.text.size(), std::min(origin, pieces.text.size())});
    for (const auto& step : config_.pre_tokenizers) step->apply(pieces, buffers.spare_pieces);
    for (const auto& span : pieces.spans) {
      config_.model->encode(pieces.piece(span), buffers.scratch, ids);
    }
  }
}

std::string_view Pipeline::id_to_token(int32_t id) const {
  for (const AddedToken& token : config_.added) {
    if (token.id == id) return token.content;
  }
  return config_.model->vocabulary().token(id);
}

int32_t Pipeline::token_to_id(std::string_view token) const {
  for (const AddedToken& added : config_.added) {
    if (added.content == token) return added.id;
  }
  return config_.model->vocabulary().id(token);
}

std::string Pipeline::decode(std::span<const int32_t> ids) const {
  std::vector<std::string_view> tokens;
  for (const int32_t id : ids) {
    const std::string_view token = id_to_token(id);
    if (!token.empty()) tokens.push_back(token);
  }
  return config_.decoder.decode(tokens);
}

void Pipeline::assign_ids(const Model& model, std::vector<AddedToken>& added) {
  const auto vocabulary_size = static_cast<int32_t>(model.vocabulary().size());
  int32_t next = vocabulary_size;
  std::vector<AddedToken> kept;
  for (AddedToken& token : added) {
    if (token.content.empty()) continue;
    const auto same = std::find_if(kept.begin(), kept.end(), [&token](const AddedToken& other) {
      return other.content == token.content;
    });
    if (same != kept.end()) {
      token.id = same->id;
      *same = std::move(token);
      continue;
    }
    const int32_t own = model.vocabulary().id(token.content);
    token.id = own >= 0 ? own : next++;
    kept.push_back(std::move(token));
  }
  added = std::move(kept);
}

size_t Pipeline::id_limit(const Model& model, const std::vector<AddedToken>& added) {
  size_t limit = model.vocabulary().id_limit();
  for (const AddedToken& token : added) limit = std::max(limit, static_cast<size_t>(token.id) + 1);
  return limit;
}

}  // namespace tamis::text
