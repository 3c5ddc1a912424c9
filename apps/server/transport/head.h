#pragma once

// From what the parser read of a header to what a handler sees. Private to transport/.

#include <boost/beast/http/message.hpp>
#include <string_view>

#include "transport/http.h"

namespace tamis::server {

using ParsedHeader = boost::beast::http::request_header<>;

/// What is wrong with a header that the parser let pass (RFC 9112: lengths and codings that two
/// readers might understand in two ways); empty if nothing.
std::string_view wrong_with(const ParsedHeader& header);

/// Fills method, path, query and headers. False: the target is no path, or not percent-encoded.
bool read_head(const ParsedHeader& header, RequestHead& out);

}  // namespace tamis::server
