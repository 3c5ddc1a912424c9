#include "tamis/error.h"

#include <array>

namespace tamis {
namespace {

// Exit statuses follow sysexits.h where it has a word for the case.
constexpr std::array<ErrorCodeInfo, 8> kCodes = {{
    {ErrorCode::kInvalidArgument, "invalid_argument", 64, 400, "ValueError"},
    {ErrorCode::kNotFound, "not_found", 66, 404, "FileNotFoundError"},
    {ErrorCode::kDataLoss, "data_loss", 65, 422, "ValueError"},
    {ErrorCode::kUnimplemented, "unimplemented", 69, 501, "NotImplementedError"},
    {ErrorCode::kResourceExhausted, "resource_exhausted", 73, 429, "MemoryError"},
    {ErrorCode::kUnavailable, "unavailable", 75, 503, "RuntimeError"},
    {ErrorCode::kCancelled, "cancelled", 130, 499, "RuntimeError"},
    {ErrorCode::kInternal, "internal", 70, 500, "RuntimeError"},
}};

}  // namespace

const ErrorCodeInfo& info(ErrorCode code) { return kCodes[static_cast<size_t>(code)]; }

std::span<const ErrorCodeInfo> all_error_codes() { return kCodes; }

}  // namespace tamis
