#pragma once

// The small text files of /proc and /sys. Nothing here throws for a file that is missing, cut short
// or not as expected: what cannot be read is empty.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tamis {

/// `path`, which is absolute, below `root`.
std::filesystem::path below(const std::filesystem::path& root, std::string_view path);

/// The first megabytes of a file; "" if it cannot be read.
std::string read_system_file(const std::filesystem::path& path);

/// The decimal number at the start of `text`, after blanks. Empty: none, or more than 64 bits.
std::optional<uint64_t> leading_number(std::string_view text);

/// The number after `key` and blanks on the first line that begins so: ("MemTotal:",
/// "active_file").
std::optional<uint64_t> number_of(std::string_view text, std::string_view key);

/// As number_of, for a line in kB (of 1024); bytes, 0 if unknown.
size_t kilobytes_of(std::string_view text, std::string_view key);

/// Core numbers of a list like "0-3,8", ascending, each once; empty if it is malformed.
std::vector<int> parse_cpu_list(std::string_view text);

/// The lines of `text`, without their ends.
std::vector<std::string_view> lines_of(std::string_view text);

}  // namespace tamis
