#include "train/dataset.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/fail.h"
#include "io/content_hash.h"
#include "io/json.h"
#include "io/utf8.h"
#include "numeric/philox.h"

namespace tamis::training {
namespace {

namespace fs = std::filesystem;

// Streams of random numbers, so that what one draws does not depend on another: examples have
// theirs by number.
constexpr uint32_t kOrderStream = 0xffffffff;
constexpr uint32_t kEpochs = 0x65706f63;  // kind of key
constexpr std::string_view kNoInBatchNegatives = "no_in_batch_neg";

std::vector<std::string> read_texts(const io::JsonValue& root, std::string_view key,
                                    std::string_view where) {
  std::vector<std::string> out;
  for (const io::JsonValue& text : root.at(key).elements(key)) {
    out.emplace_back(text.string(fmt::format("{}[{}]", key, out.size())));
  }
  if (out.empty()) {
    fail(ErrorCode::kDataLoss, "{}: {}: expected at least one string, got an empty array", where,
         key);
  }
  return out;
}

void shuffle(std::vector<uint32_t>& numbers, PhiloxStream& random) {
  for (size_t i = numbers.size(); i > 1; --i) {
    std::swap(numbers[i - 1], numbers[random.below(static_cast<uint32_t>(i))]);
  }
}

bool is_symmetric(std::string_view type) {
  return type.find("symmetric") != std::string_view::npos;
}

std::vector<double> read_scores(const io::JsonValue& root, std::string_view key, size_t count,
                                std::string_view where) {
  std::vector<double> out;
  for (const io::JsonValue& score : root.at(key).elements(key)) {
    out.push_back(score.number(fmt::format("{}[{}]", key, out.size())));
  }
  if (out.size() != count) {
    fail(ErrorCode::kDataLoss, "{}: {}: expected {} numbers, one for each passage, got {}", where,
         key, count, out.size());
  }
  return out;
}

std::vector<fs::path> data_files(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(path)) {
    const auto ending = entry.path().extension();
    if (entry.is_regular_file() && (ending == ".jsonl" || ending == ".json")) {
      out.push_back(entry.path());
    }
  }
  if (out.empty()) {
    fail(ErrorCode::kNotFound, "{}: no training data: expected files *.jsonl or *.json",
         path.string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// [AbsDataset.py: shuffle_text]: three parts of code points in another order.
std::string shuffled(const std::string& text, double ratio, PhiloxStream& random) {
  std::vector<size_t> starts;
  for (size_t at = 0; at < text.size(); at += io::decode_utf8(text, at).bytes) starts.push_back(at);
  if (ratio <= 0 || starts.size() <= 100 || random.uniform() >= ratio) return text;
  const size_t chunk = starts.size() / 3 + 1;
  std::vector<std::string> parts;
  for (size_t i = 0; i < starts.size(); i += chunk) {
    const size_t end = i + chunk < starts.size() ? starts[i + chunk] : text.size();
    parts.push_back(text.substr(starts[i], end - starts[i]));
  }
  for (size_t i = parts.size() - 1; i > 0; --i) {
    std::swap(parts[i], parts[random.below(static_cast<uint32_t>(i + 1))]);
  }
  return fmt::format("{}", fmt::join(parts, " "));
}

/// Numbers of `count` negatives out of n: without repetition as long as there are enough, else from
/// as many copies of the list as that takes.
std::vector<size_t> draw(size_t n, size_t count, PhiloxStream& random) {
  std::vector<size_t> all;
  for (size_t copies = n < count ? (count + n - 1) / n : 1; copies > 0; --copies) {
    for (size_t i = 0; i < n; ++i) all.push_back(i);
  }
  for (size_t i = 0; i < count; ++i) {
    std::swap(all[i], all[i + random.below(static_cast<uint32_t>(all.size() - i))]);
  }
  all.resize(count);
  return all;
}

}  // namespace

std::string apply_format(std::string_view format, std::string_view instruction,
                         std::string_view text) {
  const size_t first = format.find("{}");
  const size_t second = first == std::string_view::npos ? first : format.find("{}", first + 2);
  if (second == std::string_view::npos || format.find("{}", second + 2) != std::string_view::npos) {
    fail(ErrorCode::kInvalidArgument,
         "instruction format: expected {{}} twice, for the instruction and the text, got \"{}\"",
         format);
  }
  return fmt::format("{}{}{}{}{}", format.substr(0, first), instruction,
                     format.substr(first + 2, second - first - 2), text, format.substr(second + 2));
}

Dataset::Dataset(const TrainOptions& options) : options_(options) {
  apply_format(options.query_instruction_format, "", "");
  apply_format(options.passage_instruction_format, "", "");
  if (options.train_group_size < 2) {
    fail(ErrorCode::kInvalidArgument,
         "train_group_size: expected at least 2, the positive passage and one more, got {}",
         options.train_group_size);
  }
  if (options.train_data.empty()) {
    fail(ErrorCode::kInvalidArgument, "train_data: expected at least one file or directory");
  }
  for (const fs::path& path : options.train_data) {
    const bool in_batch = !path.stem().string().ends_with(kNoInBatchNegatives);
    for (const fs::path& file : data_files(path)) add_file(file, in_batch);
  }
  std::string hashes;
  for (const File& file : files_) {
    hashes += io::hash_text(io::content_hash(file.map.bytes()));
  }
  fingerprint_ =
      fmt::format("{} seed {} group {} of {} in batches of {}{}",
                  io::hash_text(io::content_hash(std::as_bytes(std::span(hashes)))), options.seed,
                  options.train_group_size, lines_.size(), options.per_device_train_batch_size,
                  options.same_dataset_within_batch ? " of one file" : "");
}

void Dataset::add_file(const fs::path& path, bool in_batch_negatives) {
  files_.push_back({path, io::FileMap::open(path), in_batch_negatives, "",
                    static_cast<uint32_t>(lines_.size()), 0});
  const auto file = static_cast<uint32_t>(files_.size() - 1);
  const std::string_view text = files_.back().map.text();
  size_t kept = 0;
  uint32_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) end = text.size();
    ++number;
    const std::string_view line = text.substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      if (line.size() > std::numeric_limits<uint32_t>::max()) {
        fail(ErrorCode::kDataLoss, "{} line {}: has over 4 GiB", path.string(), number);
      }
      lines_.push_back({file, number, begin, static_cast<uint32_t>(line.size())});
      Example example = read(lines_.back());
      if (kept == 0) files_.back().type = std::move(example.type);
      if (++kept == options_.max_example_num_per_dataset) break;
    }
    begin = end + 1;
  }
  if (kept == 0) fail(ErrorCode::kDataLoss, "{}: has no lines", path.string());
  files_.back().lines = static_cast<uint32_t>(kept);
  files_.back().map.drop_pages(files_.back().map.bytes());
}

Example Dataset::read(const Line& line) const {
  const File& file = files_[line.file];
  const std::string where = fmt::format("{} line {}", file.path.string(), line.number);
  const auto document =
      io::JsonDocument::parse(file.map.text().substr(line.begin, line.bytes), where);
  const io::JsonValue root = document.root();
  if (!root.is_object()) {
    fail(ErrorCode::kDataLoss,
         "{}: expected an object with query, pos and neg on a line of its own", where);
  }
  Example out;
  out.query = root.at("query").string("query");
  out.positives = read_texts(root, "pos", where);
  out.negatives = read_texts(root, "neg", where);
  if (options_.knowledge_distillation) {
    out.positive_scores = read_scores(root, "pos_scores", out.positives.size(), where);
    out.negative_scores = read_scores(root, "neg_scores", out.negatives.size(), where);
  }
  const bool reranker = options_.task == TrainTask::kReranker;
  out.type = root.string_or("type", "");
  if (const auto prompt = root.find(reranker ? "query_prompt" : "prompt")) {
    out.query_prompt = prompt->string(reranker ? "query_prompt" : "prompt");
  }
  if (const auto prompt = root.find("passage_prompt")) {
    out.passage_prompt = prompt->string("passage_prompt");
  }
  return out;
}

Example Dataset::example(size_t i) const { return read(lines_[i]); }

Group Dataset::group(size_t i, size_t group_size, uint64_t epoch) const {
  const Example example = this->example(i);
  PhiloxStream random(derived_key(options_.seed, epoch, kEpochs), static_cast<uint32_t>(i));
  Group out;
  out.query =
      options_.query_instruction
          ? apply_format(options_.query_instruction_format,
                         example.query_prompt.value_or(*options_.query_instruction), example.query)
          : example.query;
  // Where both sides are texts of one kind, passages get what queries get.
  const bool as_query = example.type == "symmetric_sts" || example.type == "symmetric_clustering";
  const auto& instruction = as_query ? options_.query_instruction : options_.passage_instruction;
  const auto& prompt = as_query ? example.query_prompt : example.passage_prompt;
  const auto& format =
      as_query ? options_.query_instruction_format : options_.passage_instruction_format;
  const auto add = [&](const std::string& text, const std::vector<double>& scores, size_t at) {
    const std::string mixed = shuffled(text, options_.shuffle_ratio, random);
    out.passages.push_back(instruction ? apply_format(format, prompt.value_or(*instruction), mixed)
                                       : mixed);
    if (!scores.empty()) out.teacher.push_back(scores[at]);
  };
  const size_t positive = random.below(static_cast<uint32_t>(example.positives.size()));
  add(example.positives[positive], example.positive_scores, positive);
  for (size_t n : draw(example.negatives.size(), group_size - 1, random)) {
    add(example.negatives[n], example.negative_scores, n);
  }
  return out;
}

std::vector<Batch> Dataset::batches(uint64_t epoch) const {
  return options_.same_dataset_within_batch ? batches_by_file(epoch) : mixed_batches(epoch);
}

std::vector<Batch> Dataset::mixed_batches(uint64_t epoch) const {
  std::vector<uint32_t> order(lines_.size());
  std::iota(order.begin(), order.end(), 0u);
  PhiloxStream random(derived_key(options_.seed, epoch, kEpochs), kOrderStream);
  shuffle(order, random);
  const bool in_batch = std::any_of(files_.begin(), files_.end(),
                                    [](const File& file) { return file.in_batch_negatives; });
  const size_t size = options_.per_device_train_batch_size;
  std::vector<Batch> out;
  for (size_t begin = 0; begin < order.size(); begin += size) {
    const size_t end = std::min(order.size(), begin + size);
    if (end - begin < size && options_.dataloader_drop_last) break;
    out.push_back({{order.begin() + static_cast<std::ptrdiff_t>(begin),
                    order.begin() + static_cast<std::ptrdiff_t>(end)},
                   options_.train_group_size,
                   in_batch});
  }
  return out;
}

std::vector<Batch> Dataset::batches_by_file(uint64_t epoch) const {
  PhiloxStream random(derived_key(options_.seed, epoch, kEpochs), kOrderStream);
  std::vector<Batch> all;
  for (const File& file : files_) {
    std::vector<uint32_t> order(file.lines);
    std::iota(order.begin(), order.end(), file.first_line);
    shuffle(order, random);
    const size_t size = batch_size(file);
    for (size_t begin = 0; begin + size <= order.size(); begin += size) {
      Batch batch;
      batch.examples.assign(order.begin() + static_cast<std::ptrdiff_t>(begin),
                            order.begin() + static_cast<std::ptrdiff_t>(begin + size));
      batch.group_size = group_size(file, batch.examples);
      batch.in_batch_negatives = file.in_batch_negatives;
      all.push_back(std::move(batch));
    }
  }
  std::vector<uint32_t> order(all.size());
  std::iota(order.begin(), order.end(), 0u);
  shuffle(order, random);
  std::vector<Batch> out;
  for (uint32_t i : order) out.push_back(std::move(all[i]));
  return out;
}

size_t Dataset::batch_size(const File& file) const {
  const size_t size = options_.per_device_train_batch_size;
  return is_symmetric(file.type) ? std::max<size_t>(1, size / 2) : size;
}

size_t Dataset::group_size(const File& file, std::span<const uint32_t> examples) const {
  if (file.type == "only_1neg") return 2;
  size_t out = options_.train_group_size;
  if (file.type != "symmetric_class") return out;
  for (uint32_t i : examples) out = std::min(out, example(i).negatives.size() + 1);
  return out;
}

}  // namespace tamis::training
