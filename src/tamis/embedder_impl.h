#pragma once

#include "tamis/embedder.h"
#include "tamis/session.h"

namespace tamis {

struct Embedder::Impl {
  Session session;
};

}  // namespace tamis
