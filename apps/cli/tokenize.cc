// tamis tokenize

#include <memory>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "options.h"
#include "tamis/tokenizer.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis tokenize --tokens "Hello, world!"
  tamis tokenize --input texts.jsonl > ids.jsonl
  tamis tokenize --max-length 512 --truncation longest_first --input pairs.jsonl

Input is one text or pair a line: {"text": "..."} or {"query": "...", "passage": "..."}; the answer
is {"ids": [...]}, special tokens included. Nothing is cut unless --max-length is given.)";

struct Options {
  ModelOptions model;
  OutputOptions output;
  InputOptions input;
  std::vector<std::string> texts;
  size_t max_length = 0;
  std::string truncation = "flagembedding";
  bool pieces = false;
};

PairTruncation truncation_of(const std::string& name) {
  if (name == "only_second") return PairTruncation::kOnlySecond;
  if (name == "longest_first") return PairTruncation::kLongestFirst;
  return PairTruncation::kFlagEmbedding;
}

class TokenizeJob : public LineJob<TextLine, TokenizedInput> {
 public:
  TokenizeJob(const Tokenizer& tokenizer, const Options& options)
      : tokenizer_(tokenizer), options_(options), truncation_(truncation_of(options.truncation)) {}

  TextLine parse(std::string_view line, const std::string& where) override {
    return parse_text_line(line, where, /*pairs_allowed=*/true, utf8_replacements_);
  }

  std::vector<TokenizedInput> run(std::span<const TextLine> items) override {
    std::vector<TokenizedInput> out;
    for (const TextLine& item : items) {
      out.push_back(item.passage ? tokenizer_.encode_pair(item.text, *item.passage,
                                                          options_.max_length, truncation_)
                                 : tokenizer_.encode(item.text, options_.max_length));
      utf8_replacements_ += out.back().utf8_replacements;
    }
    return out;
  }

  void write(std::string& out, const TextLine&, const TokenizedInput& result,
             JsonLayout layout) override {
    std::vector<std::string_view> pieces;
    if (options_.pieces) {
      for (const int32_t id : result.ids) pieces.push_back(tokenizer_.id_to_token(id));
    }
    write_tokens(out, result, pieces, layout);
  }

  size_t utf8_replacements() const { return utf8_replacements_; }

 private:
  const Tokenizer& tokenizer_;
  const Options& options_;
  const PairTruncation truncation_;
  size_t utf8_replacements_ = 0;
};

int run_texts(const Options& options, Output& output, TokenizeJob& job) {
  const std::vector<TextLine> texts = text_lines(options.texts);
  write_items(output.buffer(), job, texts, job.run(texts), format_of(options.output.format));
  output.finish();
  return 0;
}

int run(const Options& options) {
  const Notices notices = options.output.notices();
  const std::string input = lines_input(options.texts, options.input);
  Output output = Output::open(plain(options.output.path));
  std::optional<LineReader> reader;
  if (!input.empty()) reader.emplace(LineReader::open(input));
  const auto directory = find_model(plain(options.model.directory), kDefaultReranker);
  const Tokenizer tokenizer = Tokenizer::load(directory, notices.sink());
  TokenizeJob job(tokenizer, options);
  int status = 0;
  if (reader) {
    const LineOptions how = {format_of(options.output.format), options.input.keep_going, false};
    LineLoop loop(*reader, output, how, job);
    status = loop.run();
    output.finish();
    say_failed_lines(loop.errors(), reader->name());
  } else {
    status = run_texts(options, output, job);
  }
  notices.say_replaced(job.utf8_replacements(), reader ? reader->name() : "the arguments");
  return status;
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("texts", options.texts, "texts; after -- also with a dash")
      ->type_name("")
      ->option_text("TEXT...");
  add_input_option(app, options.input,
                   "texts or pairs, one JSON object a line; - is standard input");
  add_count(app, "--max-length", options.max_length, 1,
            "cut to N tokens, special ones included (default: nothing is cut)")
      ->group("Tokens");
  add_choice(app, "--truncation", options.truncation,
             {"flagembedding", "only_second", "longest_first"},
             "how a pair is cut (default: flagembedding, as the reranker does)")
      ->group("Tokens");
  app.add_flag("--tokens", options.pieces, "add the pieces of text that the ids stand for")
      ->group("Tokens");
  add_model_option(app, options.model);
  add_output_options(app, options.output, {"jsonl", "json"});
  app.footer(kFooter);
}

}  // namespace

Command add_tokenize(CLI::App& root) {
  CLI::App* app = root.add_subcommand("tokenize", "Show the token ids of texts or pairs");
  auto options = std::make_shared<Options>();
  add_options(*app, *options);
  return {app, [options](auto) { return run(*options); }};
}

}  // namespace tamis::cli
