#include "train/metrics.h"

#include <algorithm>
#include <string>

#include "base/fail.h"
#include "io/file_writer.h"
#include "io/json.h"
#include "io/json_writer.h"

namespace tamis::training {
namespace {

/// The lines of a log that are of steps up to `step`; what cannot be read ends it.
std::string lines_until(const std::filesystem::path& path, int64_t step) {
  std::string out, line;
  std::ifstream in(path);
  while (step > 0 && std::getline(in, line)) {
    try {
      const auto document = io::JsonDocument::parse(line, path.string());
      if (document.root().at("step").integer("step") > step) break;
    } catch (const Error&) {
      break;  // a run that was killed while it wrote
    }
    out += line + '\n';
  }
  return out;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t first_step, int64_t every)
    : path_(path), every_(std::max<int64_t>(1, every)) {
  const std::string kept = lines_until(path, first_step);
  io::FileWriter writer(path);
  writer.append(kept);
  writer.finish();
  file_.open(path, std::ios::app);
}

void MetricsLog::add(const TrainStep& step) {
  last_ = step;
  ++count_;
  loss_ += step.loss;
  seconds_ += step.seconds;
  tokens_ += step.tokens;
  if (step.step % every_ == 0) write();
}

void MetricsLog::finish() {
  if (count_ > 0) write();
}

void MetricsLog::write() {
  last_loss_ = loss_ / static_cast<double>(count_);
  std::string text;
  io::JsonWriter json(text);
  const auto number = [&](double x) {
    if (x == x && x - x == 0) {
      json.number(x);
    } else {
      json.null();
    }
  };
  json.begin_object().key("step").integer(last_.step);
  json.key("epoch").number(last_.epoch).key("loss");
  number(last_loss_);
  json.key("grad_norm");
  number(last_.gradient_norm);
  json.key("learning_rate").number(last_.learning_rate);
  json.key("tokens_per_second").number(static_cast<double>(tokens_) / std::max(seconds_, 1e-9));
  json.end_object();
  file_ << text << '\n' << std::flush;
  if (!file_) {
    fail(ErrorCode::kResourceExhausted, "{}: cannot be written: is the disk full?", path_.string());
  }
  loss_ = seconds_ = 0;
  tokens_ = 0;
  count_ = 0;
}

}  // namespace tamis::training
