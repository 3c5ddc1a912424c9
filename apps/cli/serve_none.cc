// tamis serve, of a build without the server's libraries.

#include <CLI/CLI.hpp>

#include "arguments.h"
#include "commands.h"

namespace tamis::cli {

Command add_serve(CLI::App& root) {
  CLI::App* app = root.add_subcommand("serve", "Serve models over HTTP (not in this build)");
  app->allow_extras();
  return {app, [](auto) -> int {
            throw Error(
                ErrorCode::kUnimplemented,
                "this build has no server; install libboost1.81-dev, libssl-dev, "
                "libspdlog-dev, prometheus-cpp-dev and libtomlplusplus-dev, and build again");
          }};
}

}  // namespace tamis::cli
