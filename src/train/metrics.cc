#include "train/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/fail.h"
#include "io/file_writer.h"
#include "io/json.h"
#include "io/json_writer.h"

namespace tamis::training {
namespace {

constexpr double kNotFinite = std::numeric_limits<double>::quiet_NaN();

/// The lines of a log that are of steps up to `step`; what cannot be read ends it.
std::string lines_until(const std::filesystem::path& path, int64_t step,
                        std::vector<MetricsRow>& rows) {
  std::string out, line;
  std::ifstream in(path);
  while (step > 0 && std::getline(in, line)) {
    try {
      const auto document = io::JsonDocument::parse(line, path.string());
      const io::JsonValue root = document.root();
      MetricsRow row;
      row.step = root.at("step").integer("step");
      if (row.step > step) break;
      row.epoch = root.number_or("epoch", 0);
      row.loss = root.number_or("loss", kNotFinite);
      row.gradient_norm = root.number_or("grad_norm", kNotFinite);
      row.learning_rate = root.number_or("learning_rate", 0);
      row.tokens_per_second = root.number_or("tokens_per_second", 0);
      rows.push_back(row);
    } catch (const Error&) {
      break;  // a run that was killed while it wrote
    }
    out += line + '\n';
  }
  return out;
}

std::string line_of(const MetricsRow& row) {
  std::string out;
  io::JsonWriter json(out);
  const auto number = [&](const char* key, double x) {
    json.key(key);
    if (std::isfinite(x)) {
      json.number(x);
    } else {
      json.null();
    }
  };
  json.begin_object().key("step").integer(row.step);
  number("epoch", row.epoch);
  number("loss", row.loss);
  number("grad_norm", row.gradient_norm);
  number("learning_rate", row.learning_rate);
  number("tokens_per_second", row.tokens_per_second);
  json.end_object();
  return out + '\n';
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t first_step, int64_t every)
    : path_(path), every_(std::max<int64_t>(1, every)) {
  const std::string kept = lines_until(path, first_step, rows_);
  io::FileWriter writer(path);
  writer.append(kept);
  writer.finish();
  file_.open(path, std::ios::app);
}

bool MetricsLog::add(const TrainStep& step) {
  last_ = step;
  ++count_;
  loss_ += step.loss;
  seconds_ += step.seconds;
  tokens_ += step.tokens;
  if (step.step % every_ != 0) return false;
  write();
  return true;
}

bool MetricsLog::finish() {
  if (count_ == 0) return false;
  write();
  return true;
}

void MetricsLog::write() {
  const double loss = loss_ / static_cast<double>(count_);
  MetricsRow row;
  row.step = last_.step;
  row.epoch = last_.epoch;
  row.loss = std::isfinite(loss) ? loss : kNotFinite;
  row.gradient_norm = std::isfinite(last_.gradient_norm) ? last_.gradient_norm : kNotFinite;
  row.learning_rate = last_.learning_rate;
  row.tokens_per_second = static_cast<double>(tokens_) / std::max(seconds_, 1e-9);
  rows_.push_back(row);
  file_ << line_of(row) << std::flush;
  if (!file_) {
    fail(ErrorCode::kResourceExhausted, "{}: cannot be written: is the disk full?", path_.string());
  }
  loss_ = seconds_ = 0;
  tokens_ = 0;
  count_ = 0;
}

}  // namespace tamis::training
