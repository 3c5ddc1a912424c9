// tamis serve

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "notices.h"
#include "options.h"
#include "output.h"
#include "server/config/settings.h"
#include "server/service.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis serve --model models/bge-reranker-v2-m3
  tamis serve --model rerank=models/bge-reranker-v2-m3 --model models/bge-m3 --host 0.0.0.0 \
              --api-key-file /etc/tamis/keys
  tamis serve --config /etc/tamis/serve.toml --check

One port speaks the dialects of Cohere, Jina, Voyage, OpenAI, TEI, llama.cpp and infinity; GET / is
a page to look at, GET /openapi.json the list of routes, docs/serving.md the whole story. Every
option is also a variable of the environment (TAMIS_SERVE_PORT) and a key of the file (port).
SIGTERM answers what was begun and ends; SIGHUP reads keys, certificates, limits and the list of
models again.)";

struct Options {
  std::vector<std::pair<const server::Setting*, std::vector<std::string>>> given;
  bool check = false;
};

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

server::Settings settings_of(const Options& options) {
  server::GivenFlags flags;
  for (const auto& [setting, values] : options.given) {
    for (const std::string& value : values) flags.emplace_back(setting->name, plain(value));
  }
  server::Settings out = server::read_settings(flags, environment);
  if (!out.models.empty()) return out;
  server::ModelSource model;
  model.directory = find_model("", kDefaultReranker);
  model.options = out.load;
  model.max_length = out.max_length;
  out.models.push_back(model);
  return out;
}

int run(const Options& options) {
  if (options.check) {
    Output output = Output::open("-");
    output.buffer() = server::explain(settings_of(options));
    output.finish();
    return 0;
  }
  const Notices notices(Notices::Level::kNormal);
  return server::run_service([&] { return settings_of(options); },
                             [&](const std::string& line) { notices.say(line); });
}

}  // namespace

Command add_serve(CLI::App& root) {
  CLI::App* app = root.add_subcommand("serve", "Serve models over HTTP");
  auto options = std::make_shared<Options>();
  options->given.reserve(server::all_settings().size());  // options keep pointers into it
  for (const server::Setting& setting : server::all_settings()) {
    if (setting.secret) continue;
    auto& [of, values] = options->given.emplace_back(&setting, std::vector<std::string>());
    const std::string help = setting.fallback.empty()
                                 ? std::string(setting.help)
                                 : fmt::format("{} (default: {})", setting.help, setting.fallback);
    app->add_option((setting.name == "model" ? "-m,--" : "--") + std::string(setting.name), values,
                    help)
        ->type_name(std::string(setting.value))
        ->allow_extra_args(false)
        ->group(std::string(setting.group));
  }
  app->add_flag("--check", options->check, "say what would be done, with the memory plan, and end");
  app->footer(kFooter);
  return {app, [options](auto) { return run(*options); }};
}

}  // namespace tamis::cli
