#include "train/metrics.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/fail.h"
#include "io/file_writer.h"
#include "io/json.h"
#include "io/json_writer.h"

namespace tamis::training {
namespace {

/// The lines of a log that are of steps up to `step`, and their losses; what cannot be read ends
/// it.
std::string lines_until(const std::filesystem::path& path, int64_t step,
                        std::vector<LossPoint>& losses) {
  std::string out, line;
  std::ifstream in(path);
  while (step > 0 && std::getline(in, line)) {
    try {
      const auto document = io::JsonDocument::parse(line, path.string());
      const io::JsonValue root = document.root();
      const int64_t at = root.at("step").integer("step");
      if (at > step) break;
      if (const auto loss = root.find("loss")) losses.push_back({at, loss->number("loss")});
    } catch (const Error&) {
      break;  // a run that was killed while it wrote
    }
    out += line + '\n';
  }
  return out;
}

}  // namespace

std::string loss_curve_svg(const std::vector<LossPoint>& losses) {
  constexpr double kWidth = 760, kHeight = 320, kLeft = 60, kTop = 30, kRight = 20, kBottom = 40;
  if (losses.empty()) return "";
  double most = 0;
  for (const LossPoint& p : losses) most = std::max(most, p.loss);
  most = most > 0 ? 1.05 * most : 1;
  const auto last = static_cast<double>(std::max<int64_t>(1, losses.back().step));
  const double bottom = kHeight - kBottom;
  const auto x = [&](double step) { return kLeft + (kWidth - kLeft - kRight) * step / last; };
  const auto y = [&](double loss) { return bottom - (bottom - kTop) * loss / most; };
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" "
      "font-size=\"12\" fill=\"#777\">\n<title>loss over {} steps</title>\n",
      kWidth, kHeight, losses.back().step);
  out += fmt::format("<path d=\"M{0},{1}V{2}H{3}\" fill=\"none\" stroke=\"#777\"/>\n", kLeft, kTop,
                     bottom, kWidth - kRight);
  for (int i = 0; i <= 4; ++i) {
    const double part = i / 4.0;
    out += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.3g}</text>\n", kLeft - 6,
                       y(part * most) + 4, part * most);
    out += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.0f}</text>\n",
                       x(part * last), bottom + 18, part * last);
  }
  out += fmt::format(
      "<text x=\"{}\" y=\"18\">loss</text>\n<polyline fill=\"none\" stroke=\"#3377cc\" "
      "stroke-width=\"1.5\" points=\"",
      kLeft);
  for (const LossPoint& p : losses) {
    out += fmt::format("{:.1f},{:.1f} ", x(static_cast<double>(p.step)), y(p.loss));
  }
  return out + "\"/>\n</svg>\n";
}

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t first_step, int64_t every)
    : path_(path), every_(std::max<int64_t>(1, every)) {
  const std::string kept = lines_until(path, first_step, losses_);
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
  if (std::isfinite(last_loss_)) losses_.push_back({last_.step, last_loss_});
  std::string text;
  io::JsonWriter json(text);
  const auto number = [&](double x) {
    if (std::isfinite(x)) {
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
