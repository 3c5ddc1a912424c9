#pragma once

// Plots as SVG: each function gives a whole <svg> element, which stands alone in a file or within a
// page (html_page.h, whose style knows the classes). Readable on a light and on a dark ground; the
// numbers are also in their titles, which browsers show where the pointer is.

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace tamis::io {

struct PlotSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< by x; those that are not finite are left out
};

/// Lines over numbers; y begins at 0, or below if a value does.
struct LinePlot {
  std::string title;  ///< the picture's name, for those who do not see it
  std::string x_label, y_label;
  std::vector<PlotSeries> series;  ///< the first two have colours of their own
  std::vector<double> x_ticks;     ///< empty: round numbers from 0 on
  bool logarithmic_x = false;      ///< with x_ticks, all x above 0
  bool dots = false;               ///< at each point, with its value
};
std::string line_plot(const LinePlot& plot);

/// A value with the interval that holds it.
struct Bar {
  std::string name;
  double value = 0, low = 0, high = 0;
};
/// Bars from 0 to the right, one below another.
std::string bar_plot(const std::string& title, std::span<const Bar> bars);

/// Differences, the largest first, as bars side by side: those above 0 in the second colour of a
/// line_plot, those below in the first.
struct DifferencePlot {
  std::string title;
  std::string x_label, y_label;
  std::vector<double> differences;
};
std::string difference_plot(const DifferencePlot& plot);

/// Round numbers from low to high, at most `most` + 1 of them (most > 0, low < high).
std::vector<double> round_ticks(double low, double high, size_t most);

}  // namespace tamis::io
