#pragma once

// One connection: its requests, one after the other. Private to transport/.

#include <boost/asio/awaitable.hpp>

#include "transport/state.h"

namespace tamis::server {

/// Readable now, if only to find its end.
bool readable(int socket);

/// Serves until the connection is over.
boost::asio::awaitable<void, Strand> serve_plain(State& state, std::shared_ptr<Handle> handle,
                                                 Stream stream, Peer peer);
boost::asio::awaitable<void, Strand> serve_tls(State& state, std::shared_ptr<Handle> handle,
                                               Stream stream, Peer peer);

/// Answers 503 to one connection too many, and closes it.
boost::asio::awaitable<void, Strand> turn_away(State& state, Stream stream);

}  // namespace tamis::server
