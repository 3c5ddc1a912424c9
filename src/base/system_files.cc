#include "base/system_files.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>

namespace tamis {
namespace {

constexpr size_t kMaxBytes = size_t{4} << 20;  // /proc/cpuinfo: 1.5 kB for each core
constexpr int kMaxCores = 1 << 16;             // Linux allows 8,192

std::string_view without_blanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

// A core number that is all of `text`; -1 if it is none.
int core_number(std::string_view text) {
  const char* const end = text.data() + text.size();
  int value = -1;
  const auto parsed = std::from_chars(text.data(), end, value);
  const bool good = parsed.ec == std::errc{} && parsed.ptr == end && value < kMaxCores;
  return good ? value : -1;
}

// "3" or "0-3", added to `out`. False if it is neither.
bool add_range(std::string_view range, std::vector<int>& out) {
  const size_t dash = range.find('-');
  const int first = core_number(range.substr(0, dash));
  const int last = dash == std::string_view::npos ? first : core_number(range.substr(dash + 1));
  if (first < 0 || last < first) return false;
  for (int core = first; core <= last; ++core) out.push_back(core);
  return true;
}

}  // namespace

std::filesystem::path below(const std::filesystem::path& root, std::string_view path) {
  return root / std::filesystem::path(path).relative_path();
}

std::string read_system_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string out;
  char block[4096];
  while (file && out.size() < kMaxBytes) {
    file.read(block, sizeof block);
    out.append(block, static_cast<size_t>(file.gcount()));
  }
  return out;
}

std::optional<uint64_t> leading_number(std::string_view text) {
  const std::string_view number = without_blanks(text);
  uint64_t value = 0;
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value);
  if (parsed.ec != std::errc{}) return std::nullopt;
  return value;
}

std::optional<uint64_t> number_of(std::string_view text, std::string_view key) {
  for (const std::string_view line : lines_of(text)) {
    const bool found = line.starts_with(key) && line.size() > key.size() &&
                       (line[key.size()] == ' ' || line[key.size()] == '\t');
    if (found) return leading_number(line.substr(key.size()));
  }
  return std::nullopt;
}

size_t kilobytes_of(std::string_view text, std::string_view key) {
  const uint64_t value = number_of(text, key).value_or(0);
  return value <= std::numeric_limits<size_t>::max() / 1024 ? value * 1024 : 0;
}

std::vector<int> parse_cpu_list(std::string_view text) {
  std::vector<int> out;
  std::string_view rest = without_blanks(text);
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    if (!add_range(rest.substr(0, comma), out) || out.size() > kMaxCores) return {};
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    out.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace tamis
