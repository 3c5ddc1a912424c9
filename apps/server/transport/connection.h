#pragma once

// One connection: its requests, one after the other. Private to transport/.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>

#include "transport/state.h"

namespace tamis::server {

/// TCP or Unix, which are the same from here on.
using Stream = boost::beast::basic_stream<boost::asio::generic::stream_protocol, Strand>;

/// Serves until the connection is over. Never throws.
boost::asio::awaitable<void, Strand> serve_plain(std::shared_ptr<State> state,
                                                 std::shared_ptr<Handle> handle, Stream stream,
                                                 Peer peer);
boost::asio::awaitable<void, Strand> serve_tls(std::shared_ptr<State> state,
                                               std::shared_ptr<Handle> handle, Stream stream,
                                               Peer peer);

/// Answers 503 to one connection too many, and closes it.
boost::asio::awaitable<void, Strand> turn_away(std::shared_ptr<State> state, Stream stream);

}  // namespace tamis::server
