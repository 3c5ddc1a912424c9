#pragma once

// A progress bar on standard error, for work that takes longer than people like to wait in silence.

#include <chrono>
#include <cstddef>
#include <string>

namespace tamis::cli {

class Progress {
 public:
  /// unit: "pairs", "texts". Not wanted, no terminal, NO_COLOR set or TERM=dumb: draws nothing.
  Progress(bool wanted, std::string unit);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// The next part of the work: it ends at this fraction of all of it (negative where nobody
  /// knows).
  void begin_window(double end_fraction);
  /// Within that part. Draws at most ten times a second, and nothing in the first half second.
  void update(size_t done, size_t total);
  void end_window(size_t done);
  /// Before anything else is written to the terminal.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(size_t done, double fraction, double seconds);

  bool enabled_;
  bool drawn_ = false;
  size_t before_ = 0;  // done in earlier windows
  double begin_fraction_ = 0;
  double end_fraction_ = 0;
  std::string unit_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

/// Columns of the terminal behind a descriptor, else $COLUMNS, else 0.
size_t terminal_columns(int descriptor);

/// Whether colours and bars may be drawn there: a terminal, and the user did not say no.
bool may_decorate(int descriptor);

}  // namespace tamis::cli
