#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tamis {

/// What kind of thing went wrong; says who can do something about it.
enum class ErrorCode {
  kInvalidArgument,    ///< the caller's input or option is wrong
  kNotFound,           ///< a file, tensor, device or model does not exist
  kDataLoss,           ///< a file is damaged, lies about itself or does not fit its config
  kUnimplemented,      ///< a valid request that this build or version does not support
  kResourceExhausted,  ///< memory, disk or a limit set by the user
  kUnavailable,        ///< a device or service is not there now
  kCancelled,          ///< the caller or a deadline ended the work
  kInternal,           ///< a defect of Tamis
};

/// One row of the table that every skin (exit status, HTTP, Python) reads.
struct ErrorCodeInfo {
  ErrorCode code;
  std::string_view name;  ///< "invalid_argument"
  int exit_status;        ///< of the command line tool
  int http_status;
  std::string_view python_exception;  ///< "ValueError"
};

const ErrorCodeInfo& info(ErrorCode code);
std::span<const ErrorCodeInfo> all_error_codes();

/// The only exception type that Tamis throws. The message says what, where (file, tensor, byte or
/// line), expected and got.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace tamis
