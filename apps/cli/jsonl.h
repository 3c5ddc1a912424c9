#pragma once

// The loop of every command that reads JSON lines: a window of lines is read, run as one batch and
// written before the next one is read. Memory stays constant however long the input is.

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dto.h"
#include "lines.h"
#include "notices.h"
#include "output.h"

namespace tamis::cli {

enum class Format { kTable, kJson, kJsonLines, kNpy };

struct LineOptions {
  Format format = Format::kJsonLines;
  bool keep_going = false;  ///< a bad line becomes an error object, not the end
  bool one_window = false;  ///< all of the input at once (measurements)
};

/// What a command does with its lines.
template <class Item, class Result>
class LineJob {
 public:
  virtual ~LineJob() = default;
  /// Errors: data_loss or invalid_argument for a bad line; the message begins with `where`.
  virtual Item parse(std::string_view line, const std::string& where) = 0;
  /// One result for each item, in order.
  virtual std::vector<Result> run(std::span<const Item> items) = 0;
  virtual void write(std::string& out, const Item& item, const Result& result,
                     JsonLayout layout) = 0;
  /// Before anything of a window is written, and when it is all out.
  virtual void before_output() {}
  virtual void after_output() {}
};

/// A window is closed when its text is long enough to fill batches, or when the next line has not
/// come yet: who feeds lines one by one gets each answer at once. The first windows are small so
/// that the first results come early; 256 KiB is about 64,000 tokens, some ten batches.
inline constexpr size_t kFirstWindowBytes = 16 << 10;
inline constexpr size_t kLastWindowBytes = 256 << 10;

template <class Item, class Result>
class LineLoop {
 public:
  LineLoop(LineReader& reader, Output& output, const LineOptions& options,
           LineJob<Item, Result>& job)
      : reader_(reader), output_(output), options_(options), job_(job) {}

  /// Returns the exit status: 0, or with keep_going that of the first bad line. Otherwise throws
  /// the first bad line's error, when all results before it have been written.
  int run() {
    if (options_.format == Format::kJson) output_.buffer() += '[';
    for (size_t limit = kFirstWindowBytes;; limit = std::min(2 * limit, kLastWindowBytes)) {
      read_window(limit);
      if (slots_.empty()) break;
      run_window();
      job_.before_output();
      for (const Slot& slot : slots_) write(slot);
      output_.flush();
      job_.after_output();
      if (first_error_ && !options_.keep_going) throw *first_error_;
    }
    if (options_.format == Format::kJson) output_.buffer() += written_ == 0 ? "]\n" : "\n]\n";
    return first_error_ ? info(first_error_->code()).exit_status : 0;
  }

  size_t errors() const { return errors_; }

 private:
  struct Slot {
    size_t line;
    std::string where;
    std::optional<Error> error;
    Result result = {};
    Item item = {};
  };

  void read_window(size_t limit) {
    slots_.clear();
    for (size_t bytes = 0; options_.one_window || bytes < limit;) {
      if (!slots_.empty() && !options_.one_window && !reader_.ready()) return;
      const auto line = reader_.next();
      if (!line) return;
      if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
      bytes += line->size();
      Slot slot = {reader_.line_number(), reader_.where(), std::nullopt, {}, {}};
      try {
        slot.item = job_.parse(*line, slot.where);
      } catch (const Error& error) {
        slot.error = error;
      }
      slots_.push_back(std::move(slot));
      if (slots_.back().error && !options_.keep_going) return;
    }
  }

  void run_window() {
    std::vector<Item> items;
    for (Slot& slot : slots_) {
      if (!slot.error) items.push_back(std::move(slot.item));
    }
    std::vector<Result> results;
    try {
      if (!items.empty()) results = job_.run(items);
    } catch (const Error& error) {
      // Something that one of the lines brought: found by running each by itself.
      if (error.code() != ErrorCode::kDataLoss && error.code() != ErrorCode::kInvalidArgument)
        throw;
      run_one_by_one(items);
      return;
    }
    for (size_t next = 0; Slot & slot : slots_) {
      if (slot.error) continue;
      slot.item = std::move(items[next]);
      slot.result = std::move(results[next++]);
    }
  }

  void run_one_by_one(std::vector<Item>& items) {
    size_t next = 0;
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (slot.error) continue;
      slot.item = std::move(items[next++]);
      try {
        slot.result = std::move(job_.run(std::span(&slot.item, 1)).front());
      } catch (const Error& error) {
        slot.error = Error(error.code(), slot.where + ": " + error.what());
        if (!options_.keep_going) {
          slots_.resize(i + 1);
          return;
        }
      }
    }
  }

  void write(const Slot& slot) {
    if (slot.error) {
      ++errors_;
      if (!first_error_) first_error_ = slot.error;
      if (!options_.keep_going) return;
      if (options_.format == Format::kTable) return print_error(slot.error->what());
    }
    std::string& out = output_.buffer();
    const bool json = options_.format == Format::kJson;
    const JsonLayout layout = json ? JsonLayout::kIndented : JsonLayout::kLine;
    if (json) out += written_ == 0 ? "\n" : ",\n";
    if (slot.error)
      write_error(out, *slot.error, slot.line, layout);
    else
      job_.write(out, slot.item, slot.result, layout);
    if (options_.format == Format::kJsonLines) out += '\n';
    ++written_;
  }

  LineReader& reader_;
  Output& output_;
  const LineOptions options_;
  LineJob<Item, Result>& job_;
  std::vector<Slot> slots_;
  std::optional<Error> first_error_;
  size_t written_ = 0;
  size_t errors_ = 0;
};

/// The same output for items that came as arguments.
template <class Item, class Result>
void write_items(std::string& out, LineJob<Item, Result>& job, const std::vector<Item>& items,
                 const std::vector<Result>& results, Format format) {
  const bool json = format == Format::kJson;
  for (size_t i = 0; i < items.size(); ++i) {
    if (json) out += i == 0 ? "[\n" : ",\n";
    job.write(out, items[i], results[i], json ? JsonLayout::kIndented : JsonLayout::kLine);
    if (!json) out += '\n';
  }
  if (json) out += "\n]\n";
}

}  // namespace tamis::cli
