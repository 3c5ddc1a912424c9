#pragma once

// What the tests of io share: a scratch directory, and a check on an Error's code and words.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tamis/error.h"

/// The statement throws tamis::Error with this code, and its message contains all given words.
#define EXPECT_ERROR(statement, expected_code, ...)                                        \
  ::tamis::io::expect_error([&] { (void)(statement); }, ::tamis::ErrorCode::expected_code, \
                            {__VA_ARGS__}, __FILE__, __LINE__)

namespace tamis::io {

inline void expect_error(const std::function<void()>& run, ErrorCode code,
                         std::initializer_list<std::string_view> words, const char* file,
                         int line) {
  try {
    run();
    ADD_FAILURE_AT(file, line) << "no error, expected " << info(code).name;
  } catch (const Error& error) {
    const std::string message = error.what();
    if (error.code() != code) {
      ADD_FAILURE_AT(file, line) << "expected " << info(code).name << ", got "
                                 << info(error.code()).name << ": " << message;
    }
    for (const std::string_view word : words) {
      if (message.find(word) == std::string::npos) {
        ADD_FAILURE_AT(file, line) << "no \"" << word << "\" in: " << message;
      }
    }
  }
}

/// A directory that goes away with the test.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tamis_io_XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  /// Writes a file below the directory and returns its path.
  std::filesystem::path write(std::string_view name, std::string_view content) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream out(file, std::ios::binary);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace tamis::io
