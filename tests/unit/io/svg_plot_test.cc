// Where plots put their numbers, and what they do with few, many and odd ones.

#include "io/svg_plot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <sstream>

namespace tamis::io {
namespace {

using Points = std::vector<std::pair<double, double>>;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// What stands between `begin` and the next quote, for each `begin`.
std::vector<std::string> attributes(const std::string& svg, const std::string& begin) {
  std::vector<std::string> out;
  for (size_t at = 0; (at = svg.find(begin, at)) != std::string::npos;) {
    at += begin.size();
    out.push_back(svg.substr(at, svg.find('"', at) - at));
  }
  return out;
}

Points points_of(const std::string& svg, size_t line = 0) {
  std::istringstream in(attributes(svg, " points=\"").at(line));
  Points out;
  double x = 0, y = 0;
  for (char comma = 0; in >> x >> comma >> y;) out.emplace_back(x, y);
  return out;
}

LinePlot plot_of(Points points) {
  LinePlot out;
  out.title = "loss";
  out.x_label = "step";
  out.y_label = "loss";
  out.series = {{"a", std::move(points)}};
  return out;
}

TEST(RoundTicks, AreOnesTwosAndFives) {
  EXPECT_EQ(round_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(round_ticks(0, 7, 5), (std::vector<double>{0, 2, 4, 6, 8}));
  const std::vector<double> signs = round_ticks(-0.3, 0.41, 5);
  EXPECT_NEAR(signs.front(), -0.4, 1e-12);
  EXPECT_NEAR(signs.back(), 0.6, 1e-12);
  EXPECT_EQ(signs[2], 0);
  for (const double high : {1e-9, 3e-5, 0.999, 1.0, 17.0, 123456.0, 7e18}) {
    const auto ticks = round_ticks(0, high, 5);
    EXPECT_GE(ticks.back(), high * (1 - 1e-9)) << high;
    EXPECT_LE(ticks.size(), 7u) << high;
    EXPECT_GE(ticks.size(), 2u) << high;
  }
}

TEST(LinePlot, PointsStandWhereTheirNumbersAre) {
  const std::string svg = line_plot(plot_of({{0, 0}, {5, 1}, {10, 2}}));
  const Points p = points_of(svg);
  ASSERT_EQ(p.size(), 3u);
  EXPECT_NEAR(p[1].first, (p[0].first + p[2].first) / 2, 0.11);
  EXPECT_NEAR(p[1].second, (p[0].second + p[2].second) / 2, 0.11);
  EXPECT_LT(p[2].second, p[0].second) << "up is less in SVG";
  EXPECT_NE(svg.find("<title>loss</title>"), std::string::npos);
  EXPECT_EQ(svg.find("<circle"), std::string::npos);
}

TEST(LinePlot, ALogarithmicAxisHasFactorsEquallyFar) {
  LinePlot plot = plot_of({{1, 0.5}, {10, 0.6}, {100, 0.7}});
  plot.logarithmic_x = plot.dots = true;
  plot.x_ticks = {1, 10, 100};
  const std::string svg = line_plot(plot);
  const Points p = points_of(svg);
  EXPECT_NEAR(p[1].first - p[0].first, p[2].first - p[1].first, 0.11);
  EXPECT_EQ(attributes(svg, "<circle class=\"").size(), 3u);
  EXPECT_NE(svg.find("<title>a: step 10, loss 0.6</title>"), std::string::npos);
}

TEST(LinePlot, WhatIsNotFiniteIsLeftOut) {
  const std::string svg =
      line_plot(plot_of({{1, 1}, {2, kNaN}, {3, std::numeric_limits<double>::infinity()}, {4, 2}}));
  EXPECT_EQ(points_of(svg).size(), 2u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(LinePlot, NothingAndOnePointAndEqualOnesArePictures) {
  for (const Points& points : {Points{}, Points{{1, kNaN}}, Points{{3, 0}}, Points{{1, 0}, {2, 0}},
                               Points{{1, 1e-320}}, Points{{1, 7}, {2, 7}}}) {
    const std::string svg = line_plot(plot_of(points));
    EXPECT_TRUE(svg.ends_with("</svg>\n"));
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
  }
  // A line of one point is none: the point shows as a dot.
  EXPECT_NE(line_plot(plot_of({{3, 1}})).find("<circle"), std::string::npos);
}

TEST(LinePlot, ManyPointsAreFewerButNoSpikeIsLost) {
  Points points;
  for (int i = 0; i < 100'000; ++i) points.emplace_back(i, i == 77'777 ? 50 : 1);
  const Points p = points_of(line_plot(plot_of(points)));
  EXPECT_LE(p.size(), 1500u);
  double top = 1e9, bottom = 0;
  for (const auto& [x, y] : p) {
    top = std::min(top, y);
    bottom = std::max(bottom, y);
  }
  EXPECT_GT(bottom - top, 100) << "the spike";
  for (size_t i = 1; i < p.size(); ++i) EXPECT_GE(p[i].first, p[i - 1].first);
}

TEST(LinePlot, TwoLinesHaveALegend) {
  LinePlot plot = plot_of({{1, 1}, {2, 2}});
  EXPECT_EQ(line_plot(plot).find(">a</text>"), std::string::npos);
  plot.series.push_back({"<second>", {{1, 2}, {2, 1}}});
  const std::string svg = line_plot(plot);
  EXPECT_NE(svg.find(">a</text>"), std::string::npos);
  EXPECT_NE(svg.find(">&lt;second&gt;</text>"), std::string::npos);
  EXPECT_EQ(points_of(svg, 1).size(), 2u);
}

TEST(BarPlot, LengthsAreProportional) {
  const std::vector<Bar> bars = {{"old", 0.4, 0.3, 0.5}, {"new", 0.8, 0.7, 0.9}};
  const std::string svg = bar_plot("ndcg@10", bars);
  const auto widths = attributes(svg, " width=\"");
  ASSERT_EQ(widths.size(), 2u);
  EXPECT_NEAR(std::stod(widths[1]), 2 * std::stod(widths[0]), 0.2);
  EXPECT_NE(svg.find("old: 0.4000 (0.3000 to 0.5000)"), std::string::npos);
  EXPECT_EQ(attributes(svg, "class=\"interval\" d=\"").size(), 2u);
  EXPECT_EQ(bar_plot("x", std::vector<Bar>{{"zero", 0, 0, 0}}).find("nan"), std::string::npos);
}

TEST(DifferencePlot, TheLargestIsFirstAndZeroIsNeither) {
  const std::string svg = difference_plot({"d", "queries", "difference", {-0.5, 0.25, 0, 0.5}});
  const auto paths = attributes(svg, " d=\"");
  std::vector<std::string> filled;
  for (const std::string& path : paths) {
    if (path.ends_with("Z")) filled.push_back(path);
  }
  ASSERT_EQ(filled.size(), 2u);
  EXPECT_EQ(std::count(filled[0].begin(), filled[0].end(), 'H'), 2) << "two queries above";
  EXPECT_EQ(std::count(filled[1].begin(), filled[1].end(), 'H'), 1) << "one below";
  EXPECT_NE(svg.find("class=\"fill s1\""), std::string::npos);
  for (const std::vector<double>& none : {std::vector<double>{}, std::vector<double>{0, 0}}) {
    const std::string empty = difference_plot({"d", "queries", "difference", none});
    EXPECT_EQ(empty.find("nan"), std::string::npos);
    EXPECT_TRUE(empty.ends_with("</svg>\n"));
  }
}

}  // namespace
}  // namespace tamis::io
