#include "training_lines.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "io/json_writer.h"
#include "tamis/error.h"

namespace tamis::cli {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> texts_of(const io::JsonValue& root, std::string_view key) {
  std::vector<std::string> out;
  for (const io::JsonValue& text : root.at(key).elements(key)) {
    out.emplace_back(text.string(fmt::format("{}[{}]", key, out.size())));
  }
  return out;
}

}  // namespace

TrainingLine parse_training_line(std::string_view line, const std::string& where,
                                 bool negatives_wanted) {
  const auto document = io::JsonDocument::parse(line, where);
  const io::JsonValue root = document.root();
  TrainingLine out;
  out.where = where;
  out.text = line;
  out.query = root.at("query").string("query");
  out.positives = texts_of(root, "pos");
  if (negatives_wanted || root.find("neg")) out.negatives = texts_of(root, "neg");
  return out;
}

std::string with_fields(const TrainingLine& line, const std::vector<Replacement>& fields) {
  const auto document = io::JsonDocument::parse(line.text, line.where);
  std::string out = "{";
  std::set<std::string_view> written;
  const auto add = [&](std::string_view key, const std::string& json) {
    if (out.size() > 1) out += ", ";
    io::append_json_string(out, key);
    out += ": " + json;
  };
  for (const auto& [key, value] : document.root().members("line")) {
    std::string json;
    for (const Replacement& field : fields) {
      if (field.field != key) continue;
      json = field.json;
      written.insert(field.field);
    }
    if (json.empty()) {
      io::JsonWriter writer(json);
      io::write_value(value, writer);
    }
    add(key, json);
  }
  for (const Replacement& field : fields) {
    if (!written.contains(field.field)) add(field.field, field.json);
  }
  return out + "}\n";
}

GrowingFile::GrowingFile(const std::string& path, bool resume) : path_(path) {
  if (fs::exists(path)) {
    if (!resume) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: is there already; give another name, or --resume to go on with it",
                      path));
    }
    std::ifstream in(path, std::ios::binary);
    uintmax_t whole = 0;
    for (std::string line; std::getline(in, line) && !in.eof();) {
      whole += line.size() + 1;
      ++lines_;
    }
    in.close();
    fs::resize_file(path, whole);  // a line that was not finished goes
  }
  file_.open(path, std::ios::app | std::ios::binary);
  if (!file_) throw Error(ErrorCode::kUnavailable, fmt::format("{}: cannot be written", path));
}

void GrowingFile::add(const std::string& lines) {
  file_ << lines << std::flush;
  if (!file_) {
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("{}: cannot be written: is the disk full?", path_));
  }
}

}  // namespace tamis::cli
