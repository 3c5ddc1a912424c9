// tamis verify

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "display_width.h"
#include "io/json.h"
#include "lines.h"
#include "options.h"
#include "published.h"
#include "tamis/embedder.h"
#include "tamis/reranker.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis verify -m models/bge-m3
  tamis verify -m models/my-copy --as bge-reranker-v2-m3 --dtype f16

Computes what FlagEmbedding and others have published for a model with these weights, and prints the
difference of each number. --values takes other rerank scores in their place: [{"model", "kind":
"rerank_logit" or "rerank_sigmoid", "items": [[query, passage, number], ...]}, ...]. The exit status
is 0 if all are within what f16 on a GPU explains. Known models: )";

struct Options {
  ModelOptions model;
  OutputOptions output;
  std::string as;
  std::string values;
};

bool of_reranker(PublishedValue::Kind kind) {
  return kind == PublishedValue::Kind::kLogit || kind == PublishedValue::Kind::kSigmoid;
}

/// Rerank scores of a file of entries {"model", "kind": "rerank_logit" or "rerank_sigmoid",
/// "items":
/// [[query, passage, number], ...]}; other kinds are left out. The views point into the document.
/// Errors: data_loss, not_found.
std::vector<PublishedValue> values_of_file(const io::JsonDocument& document,
                                           std::string_view model) {
  std::vector<PublishedValue> out;
  for (const io::JsonValue& entry : document.root().elements("entries")) {
    std::string_view name = entry.at("model").string("model");
    name = name.substr(name.find_last_of('/') + 1);
    const std::string_view kind = entry.at("kind").string("kind");
    const bool sigmoid = kind == "rerank_sigmoid";
    if (name != model || (!sigmoid && kind != "rerank_logit")) continue;
    for (const io::JsonValue& item : entry.at("items").elements("items")) {
      const auto parts = item.elements("item");
      if (parts.size() != 3) {
        throw Error(ErrorCode::kDataLoss,
                    fmt::format("an item of {} has {} parts, expected query, passage and number",
                                model, parts.size()));
      }
      out.push_back({model, sigmoid ? PublishedValue::Kind::kSigmoid : PublishedValue::Kind::kLogit,
                     parts[0].string("query"), parts[1].string("passage"), parts[2].number("value"),
                     sigmoid ? 0.01 : 0.03});
    }
  }
  return out;
}

std::vector<std::string_view> known_models_of_values() {
  std::vector<std::string_view> out;
  for (const PublishedValue& value : published_values()) {
    if (out.empty() || out.back() != value.model) out.push_back(value.model);
  }
  return out;
}

std::vector<PublishedValue> values_of(std::string_view model) {
  std::vector<PublishedValue> out;
  for (const PublishedValue& value : published_values()) {
    if (value.model == model) out.push_back(value);
  }
  return out;
}

class Verify {
 public:
  explicit Verify(const Options& options) : options_(options), notices_(options.output.notices()) {}

  int run() {
    const auto directory = find_model(plain(options_.model.directory), kDefaultEmbedder);
    std::filesystem::path named = directory.lexically_normal();
    if (named.filename().empty()) named = named.parent_path();
    const std::string name = options_.as.empty() ? named.filename().string() : plain(options_.as);
    std::optional<io::JsonDocument> file;
    if (!options_.values.empty()) file = read_values(plain(options_.values));
    const auto wanted = file ? values_of_file(*file, name) : values_of(name);
    if (wanted.empty() && file) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{}: no rerank scores of \"{}\"", plain(options_.values), name));
    }
    if (wanted.empty()) {
      throw HintedError(ErrorCode::kNotFound,
                        fmt::format("no values are published for \"{}\"", name),
                        fmt::format("say by --as which of these it is: {}",
                                    fmt::join(known_models_of_values(), ", ")));
    }
    Output output = Output::open(plain(options_.output.path));
    const LoadOptions load = load_options(options_.model, 0, notices_);
    const std::vector<double> got = of_reranker(wanted.front().kind)
                                        ? logits(Reranker::load(directory, load), wanted)
                                        : similarities(Embedder::load(directory, load), wanted);
    const size_t bad = write(output.buffer(), wanted, got);
    output.finish();
    if (bad == 0) return 0;
    throw HintedError(
        ErrorCode::kDataLoss,
        fmt::format("{} of {} values differ by more than they may", bad, wanted.size()),
        "are these the weights of " + name + ", and is the dtype f32?");
  }

 private:
  static io::JsonDocument read_values(const std::string& path) {
    std::string text;
    LineReader reader = LineReader::open(path);
    while (const auto line = reader.next()) text += fmt::format("{}\n", *line);
    return io::JsonDocument::parse(text, path);
  }

  static std::vector<double> logits(const Reranker& model, std::span<const PublishedValue> values) {
    std::vector<double> out;
    for (const PublishedValue& value : values) {
      const RerankResult result = model.rerank(value.query, std::span(&value.passage, 1)).front();
      out.push_back(value.kind == PublishedValue::Kind::kSigmoid
                        ? result.score
                        : static_cast<double>(result.logit));
    }
    return out;
  }

  static std::vector<double> similarities(const Embedder& model,
                                          std::span<const PublishedValue> values) {
    std::vector<double> out;
    for (const PublishedValue& value : values) {
      const std::string_view texts[] = {value.query, value.passage};
      EmbedOptions options;
      options.sparse = value.kind == PublishedValue::Kind::kLexical;
      options.colbert = value.kind == PublishedValue::Kind::kColbert;
      options.normalize = true;
      const Embeddings e = model.embed(texts, options);
      switch (value.kind) {
        case PublishedValue::Kind::kLexical:
          out.push_back(lexical_score(e.sparse[0], e.sparse[1]));
          break;
        case PublishedValue::Kind::kColbert:
          out.push_back(colbert_score(e.colbert(0), e.colbert(1)));
          break;
        case PublishedValue::Kind::kNumber:
          out.push_back(static_cast<double>(e.row(0)[static_cast<size_t>(value.place)]));
          break;
        default:
          out.push_back(dot_product(e.row(0), e.row(1)));
      }
    }
    return out;
  }

  static size_t write(std::string& out, std::span<const PublishedValue> wanted,
                      std::span<const double> got) {
    size_t bad = 0;
    out += fmt::format("{:<8} {:>10} {:>10} {:>10} {:>8}  {}\n", "what", "published", "here",
                       "difference", "allowed", "texts");
    for (size_t i = 0; i < wanted.size(); ++i) {
      const PublishedValue& v = wanted[i];
      const double difference = got[i] - v.value;
      const bool ok = std::abs(difference) <= v.tolerance;
      bad += !ok;
      const std::string texts = v.passage.empty()
                                    ? fmt::format("\"{}\" [{}]", v.query, v.place)
                                    : fmt::format("\"{}\" \"{}\"", v.query, v.passage);
      out += fmt::format("{:<8} {:>10.5f} {:>10.5f} {:>+10.5f} {:>8} {} {}\n", kind_name(v.kind),
                         v.value, got[i], difference, v.tolerance, ok ? ' ' : '!',
                         fit_to_columns(texts, 60));
    }
    return bad;
  }

  const Options& options_;
  const Notices notices_;
};

}  // namespace

Command add_verify(CLI::App& root) {
  CLI::App* app = root.add_subcommand("verify", "Compare a model with its published values");
  auto options = std::make_shared<Options>();
  app->add_option("--as", options->as, "which model it is (default: the directory's name)")
      ->type_name("NAME");
  app->add_option("--values", options->values, "rerank scores of a JSON file in their place")
      ->type_name("FILE");
  add_model_option(*app, options->model);
  add_place_options(*app, options->model.place);
  add_output_options(*app, options->output, {"table"});
  app->footer(kFooter + fmt::format("{}.", fmt::join(known_models_of_values(), ", ")));
  return {app, [options](auto) { return Verify(*options).run(); }};
}

}  // namespace tamis::cli
