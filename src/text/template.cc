#include "text/template.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/fail.h"

namespace tamis::text {
namespace {

int32_t read_id(const io::JsonValue& json, size_t id_limit, std::string_view where) {
  const int64_t id = json.integer("post_processor id");
  if (id < 0 || static_cast<uint64_t>(id) >= id_limit) {
    fail(ErrorCode::kDataLoss, "{}: post_processor uses id {}, but the vocabulary ends at {}",
         where, id, static_cast<int64_t>(id_limit) - 1);
  }
  return static_cast<int32_t>(id);
}

int32_t read_type_id(const io::JsonValue& json, std::string_view where) {
  const int64_t id = json.at("type_id").integer("post_processor type_id");
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
    fail(ErrorCode::kDataLoss, "{}: post_processor type_id {} is out of range", where, id);
  }
  return static_cast<int32_t>(id);
}

}  // namespace

Template::Template() : Template(Frame{{}, {}, {}, 1}) {}

Template::Template(const Frame& frame) {
  using enum Part::Kind;
  single_ = {{kSpecial, 0, frame.first}, {kFirst, 0, {}}, {kSpecial, 0, frame.last}};
  pair_ = {{kSpecial, 0, frame.first},
           {kFirst, 0, {}},
           {kSpecial, 0, frame.middle},
           {kSecond, frame.second_type, {}},
           {kSpecial, frame.second_type, frame.last}};
}

Template Template::from_json(const io::JsonValue& json, size_t id_limit, std::string_view where) {
  const std::string_view type = json.at("type").string("post_processor.type");
  if (type == "TemplateProcessing") return from_template_json(json, id_limit, where);
  if (type == "BertProcessing") return from_frame_json(json, id_limit, false, where);
  if (type == "RobertaProcessing") return from_frame_json(json, id_limit, true, where);
  if (type == "ByteLevel") return Template();  // moves offsets only
  if (type != "Sequence") {
    fail(ErrorCode::kUnimplemented, "{}: post-processor \"{}\" is not supported", where, type);
  }
  std::optional<Template> only;
  for (const auto& step : json.at("processors").elements("post_processor.processors")) {
    if (step.at("type").string("post_processor.type") == "ByteLevel") continue;
    if (only) {
      fail(ErrorCode::kUnimplemented, "{}: two post-processors in a row are not supported", where);
    }
    only = from_json(step, id_limit, where);
  }
  return only ? *only : Template();
}

Template Template::from_frame_json(const io::JsonValue& json, size_t id_limit, bool roberta,
                                   std::string_view where) {
  const auto read = [&](std::string_view key) {
    const auto pair = json.at(key).elements("post_processor");
    if (pair.size() != 2) {
      fail(ErrorCode::kDataLoss, "{}: post_processor.{} is not [token, id]", where, key);
    }
    return read_id(pair[1], id_limit, where);
  };
  const int32_t cls = read("cls");
  const int32_t sep = read("sep");
  if (roberta) return Template(Frame{{cls}, {sep, sep}, {sep}, 0});
  return Template(Frame{{cls}, {sep}, {sep}, 1});
}

Template Template::from_template_json(const io::JsonValue& json, size_t id_limit,
                                      std::string_view where) {
  const io::JsonValue specials = json.at("special_tokens");
  Template out;
  out.single_ = read_parts(json.at("single"), specials, id_limit, where);
  out.pair_ = read_parts(json.at("pair"), specials, id_limit, where);
  const bool has_second = std::any_of(out.single_.begin(), out.single_.end(), [](const Part& part) {
    return part.kind == Part::Kind::kSecond;
  });
  if (has_second) {
    fail(ErrorCode::kDataLoss, "{}: post_processor.single names a second sequence", where);
  }
  return out;
}

Template::Parts Template::read_parts(const io::JsonValue& pieces, const io::JsonValue& specials,
                                     size_t id_limit, std::string_view where) {
  Parts parts;
  for (const auto& piece : pieces.elements("post_processor template")) {
    if (const auto sequence = piece.find("Sequence")) {
      const std::string_view name = sequence->at("id").string("post_processor Sequence.id");
      if (name != "A" && name != "B") {
        fail(ErrorCode::kDataLoss, "{}: post_processor names a sequence \"{}\"", where, name);
      }
      parts.push_back({name == "A" ? Part::Kind::kFirst : Part::Kind::kSecond,
                       read_type_id(*sequence, where),
                       {}});
      continue;
    }
    const io::JsonValue special = piece.at("SpecialToken");
    Part part{Part::Kind::kSpecial, read_type_id(special, where), {}};
    const auto token = specials.at(special.at("id").string("post_processor SpecialToken.id"));
    for (const auto& id : token.at("ids").elements("post_processor special_tokens.ids")) {
      part.ids.push_back(read_id(id, id_limit, where));
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

Encoding Template::build(const Parts& parts, std::span<const int32_t> a,
                         std::span<const int32_t> b) {
  Encoding out;
  out.ids.reserve(a.size() + b.size() + 8);
  out.type_ids.reserve(a.size() + b.size() + 8);
  for (const Part& part : parts) {
    const std::span<const int32_t> ids = part.kind == Part::Kind::kFirst    ? a
                                         : part.kind == Part::Kind::kSecond ? b
                                                                            : part.ids;
    out.ids.insert(out.ids.end(), ids.begin(), ids.end());
    out.type_ids.insert(out.type_ids.end(), ids.size(), part.type_id);
  }
  return out;
}

size_t Template::overhead(const Parts& parts) {
  size_t count = 0;
  for (const Part& part : parts) count += part.ids.size();
  return count;
}

}  // namespace tamis::text
