#include "io/svg_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "io/html_page.h"

namespace tamis::io {
namespace {

constexpr double kWidth = 760, kHeight = 300;
constexpr double kLeft = 64, kRight = 20, kTop = 34, kBottom = 46;
// Mid tones that both grounds let stand out; a page's style has better ones for each.
constexpr std::array<std::string_view, 2> kColours = {"#3377cc", "#c8641e"};
constexpr size_t kMostPoints = 1500;  // of a line; a screen shows no more

using Points = std::vector<std::pair<double, double>>;

std::string_view colour(size_t series) { return kColours[series % kColours.size()]; }

std::string open_svg(const std::string& title, double height) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" "
      "font-family=\"sans-serif\" font-size=\"12\" fill=\"#777\">\n<title>{}</title>\n",
      kWidth, height, escaped_markup(title));
}

/// anchor: "start", "middle", "end".
void add_text(std::string& out, double x, double y, const char* anchor, std::string_view text) {
  out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escaped_markup(text));
}

void add_line(std::string& out, const char* kind, double x1, double y1, double x2, double y2) {
  out += fmt::format(
      "<path class=\"{}\" d=\"M{:.1f},{:.1f}L{:.1f},{:.1f}\" fill=\"none\" stroke=\"#777\"{}/>\n",
      kind, x1, y1, x2, y2, std::string_view(kind) == "grid" ? " stroke-opacity=\".3\"" : "");
}

std::string tick_text(double value) { return fmt::format("{:.6g}", value + 0.0); }

/// From numbers to places of the picture.
struct Frame {
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1;
  bool logarithmic_x = false;

  double x(double value) const {
    const auto at = [&](double v) { return logarithmic_x ? std::log(v) : v; };
    return kLeft + (kWidth - kLeft - kRight) * (at(value) - at(x_low)) / (at(x_high) - at(x_low));
  }
  double y(double value) const {
    const double bottom = kHeight - kBottom;
    return bottom - (bottom - kTop) * (value - y_low) / (y_high - y_low);
  }
};

void add_y_axis(std::string& out, Frame& frame, const std::string& label) {
  const auto ticks = round_ticks(frame.y_low, frame.y_high, 5);
  frame.y_low = ticks.front();
  frame.y_high = ticks.back();
  for (const double tick : ticks) {
    add_line(out, tick == 0 ? "axis" : "grid", kLeft, frame.y(tick), kWidth - kRight,
             frame.y(tick));
    add_text(out, kLeft - 8, frame.y(tick) + 4, "end", tick_text(tick));
  }
  add_text(out, kLeft, 18, "start", label);
}

void add_x_axis(std::string& out, const Frame& frame, std::span<const double> ticks,
                const std::string& label) {
  const double bottom = kHeight - kBottom;
  for (const double tick : ticks) {
    add_line(out, "axis", frame.x(tick), bottom, frame.x(tick), bottom + 4);
    add_text(out, frame.x(tick), bottom + 18, "middle", tick_text(tick));
  }
  add_text(out, kWidth - kRight, kHeight - 8, "end", label);
}

/// Names of the lines, from the right end of the first row to its left.
void add_legend(std::string& out, const std::vector<PlotSeries>& series) {
  if (series.size() < 2) return;
  constexpr double kLetter = 6.6, kMark = 26;
  double right = kWidth - kRight;
  for (size_t i = series.size(); i-- > 0;) {
    const std::string name = shortened(series[i].name, 36);
    add_text(out, right, 18, "end", name);
    right -= kLetter * static_cast<double>(name.size()) + kMark;
    out += fmt::format(
        "<path class=\"line s{}\" d=\"M{:.1f},14h18\" fill=\"none\" stroke=\"{}\" "
        "stroke-width=\"2\"/>\n",
        i, right, colour(i));
    right -= 14;
  }
}

/// Long lines keep the lowest and the highest point of each of so many parts, so that no spike is
/// lost.
Points thinned(const Points& points) {
  Points finite;
  for (const auto& p : points) {
    if (std::isfinite(p.first) && std::isfinite(p.second)) finite.push_back(p);
  }
  if (finite.size() <= kMostPoints) return finite;
  Points out;
  constexpr size_t kParts = kMostPoints / 2;
  const auto by_y = [](const auto& a, const auto& b) { return a.second < b.second; };
  for (size_t part = 0; part < kParts; ++part) {
    const auto begin = finite.begin() + static_cast<ptrdiff_t>(part * finite.size() / kParts);
    const auto end = finite.begin() + static_cast<ptrdiff_t>((part + 1) * finite.size() / kParts);
    auto [low, high] = std::minmax_element(begin, end, by_y);
    if (high < low) std::swap(low, high);
    out.push_back(*low);
    if (high != low) out.push_back(*high);
  }
  return out;
}

void add_series(std::string& out, const Frame& frame, const Points& points, size_t number,
                const LinePlot& plot) {
  out += fmt::format(
      "<polyline class=\"line s{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" "
      "stroke-linejoin=\"round\" points=\"",
      number, colour(number));
  for (const auto& [x, y] : points) out += fmt::format("{:.1f},{:.1f} ", frame.x(x), frame.y(y));
  out += "\"/>\n";
  if (!plot.dots && points.size() > 1) return;
  for (const auto& [x, y] : points) {
    out += fmt::format(
        "<circle class=\"fill s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"><title>{}: {} "
        "{}, {} {:.4g}</title></circle>\n",
        number, frame.x(x), frame.y(y), colour(number), escaped_markup(plot.series[number].name),
        escaped_markup(plot.x_label), tick_text(x), escaped_markup(plot.y_label), y);
  }
}

}  // namespace

std::vector<double> round_ticks(double low, double high, size_t most) {
  const double raw = (high - low) / static_cast<double>(most);
  double step = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if (factor * step >= raw * (1 - 1e-9)) {
      step *= factor;
      break;
    }
  }
  std::vector<double> out;
  const auto first = static_cast<int64_t>(std::floor(low / step + 1e-9));
  const auto last = static_cast<int64_t>(std::ceil(high / step - 1e-9));
  for (int64_t i = first; i <= last; ++i) out.push_back(static_cast<double>(i) * step);
  return out;
}

std::string line_plot(const LinePlot& plot) {
  Frame frame{0, 0, 0, 0, plot.logarithmic_x};
  std::vector<Points> lines;
  for (const PlotSeries& series : plot.series) {
    lines.push_back(thinned(series.points));
    for (const auto& [x, y] : lines.back()) {
      frame.x_high = std::max(frame.x_high, x);
      frame.y_low = std::min(frame.y_low, y);
      frame.y_high = std::max(frame.y_high, y);
    }
  }
  if (!(frame.y_high - frame.y_low > 1e-300)) frame.y_high = frame.y_low + 1;
  if (frame.x_high <= 0) frame.x_high = 1;
  std::vector<double> ticks = plot.x_ticks;
  if (ticks.empty()) {
    ticks = round_ticks(0, frame.x_high, 8);
    while (ticks.back() > frame.x_high) ticks.pop_back();  // the line reaches the right edge
  } else {
    frame.x_low = ticks.front();
    frame.x_high = ticks.size() > 1 ? ticks.back() : ticks.front() + 1;
  }
  std::string out = open_svg(plot.title, kHeight);
  add_y_axis(out, frame, plot.y_label);
  add_x_axis(out, frame, ticks, plot.x_label);
  for (size_t i = 0; i < lines.size(); ++i) add_series(out, frame, lines[i], i, plot);
  add_legend(out, plot.series);
  return out + "</svg>\n";
}

std::string bar_plot(const std::string& title, std::span<const Bar> bars) {
  constexpr double kRow = 44, kThick = 16, kFoot = 30, kAt = 8, kValue = 60;
  double most = 0;
  for (const Bar& bar : bars) most = std::max({most, bar.high, bar.value});
  const auto ticks = round_ticks(0, most > 0 ? most : 1, 5);
  const double height = kRow * static_cast<double>(bars.size()) + kFoot;
  const double scale = (kWidth - kAt - kValue) / ticks.back();
  const auto x = [&](double value) { return kAt + scale * value; };
  std::string out = open_svg(title, height);
  for (const double tick : ticks) {
    add_line(out, tick == 0 ? "axis" : "grid", x(tick), 0, x(tick), height - kFoot + 4);
    add_text(out, x(tick), height - 8, "middle", tick_text(tick));
  }
  for (size_t i = 0; i < bars.size(); ++i) {
    const Bar& bar = bars[i];
    const double top = kRow * static_cast<double>(i), middle = top + 20 + kThick / 2;
    add_text(out, kAt + 4, top + 14, "start", shortened(bar.name, 100));
    out += fmt::format(
        "<rect class=\"fill s{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" "
        "fill=\"{}\"><title>{}: {:.4f} ({:.4f} to {:.4f})</title></rect>\n",
        i % kColours.size(), x(0), top + 20, scale * bar.value, kThick, colour(i),
        escaped_markup(bar.name), bar.value, bar.low, bar.high);
    // The interval: a line with an end at each side.
    out += fmt::format(
        "<path class=\"interval\" d=\"M{0:.1f},{2:.1f}H{1:.1f}M{0:.1f},{3:.1f}v10M{1:.1f},{3:.1f}"
        "v10\" fill=\"none\" stroke=\"#777\" stroke-width=\"2\"/>\n",
        x(bar.low), x(bar.high), middle, middle - 5);
    add_text(out, std::max(x(bar.high), x(bar.value)) + 8, middle + 4, "start",
             fmt::format("{:.4f}", bar.value));
  }
  return out + "</svg>\n";
}

std::string difference_plot(const DifferencePlot& plot) {
  std::vector<double> sorted = plot.differences;
  std::sort(sorted.rbegin(), sorted.rend());
  const auto count = static_cast<double>(std::max<size_t>(1, sorted.size()));
  Frame frame{0, count, 0, 0};
  if (!sorted.empty()) {
    frame.y_low = std::min(0.0, sorted.back());
    frame.y_high = std::max(0.0, sorted.front());
  }
  if (frame.y_high <= frame.y_low) frame.y_low = -1, frame.y_high = 1;
  std::string out = open_svg(plot.title, kHeight);
  add_y_axis(out, frame, plot.y_label);
  std::vector<double> ticks = round_ticks(0, count, 8);
  std::erase_if(ticks, [&](double tick) { return tick > count || tick != std::floor(tick); });
  add_x_axis(out, frame, ticks, plot.x_label);
  // One outline for each side: thousands of queries are a curve, a dozen are bars.
  for (const bool above : {true, false}) {
    std::string path;
    for (size_t i = 0; i < sorted.size(); ++i) {
      if (above ? sorted[i] <= 0 : sorted[i] >= 0) continue;
      if (path.empty()) {
        path = fmt::format("M{:.1f},{:.1f}", frame.x(static_cast<double>(i)), frame.y(0));
      }
      path +=
          fmt::format("V{:.1f}H{:.1f}", frame.y(sorted[i]), frame.x(static_cast<double>(i + 1)));
    }
    if (path.empty()) continue;
    out += fmt::format("<path class=\"fill s{}\" d=\"{}V{:.1f}Z\" fill=\"{}\"/>\n", above ? 1 : 0,
                       path, frame.y(0), colour(above ? 1 : 0));
  }
  return out + "</svg>\n";
}

}  // namespace tamis::io
