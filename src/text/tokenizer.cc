#include "text/tokenizer.h"

#include <optional>

#include "base/fail.h"
#include "io/file_map.h"
#include "io/json.h"
#include "io/utf8.h"
#include "text/pipeline.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_config.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace tamis::text {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<const Model> read_model(const io::JsonValue& json, std::string_view where) {
  if (!json.is_object()) fail(ErrorCode::kDataLoss, "{}: model is not an object", where);
  // Files older than the field's introduction have no type; WordPiece then shows by its prefix.
  std::string type = json.string_or("type", "");
  if (type.empty()) type = json.find("continuing_subword_prefix") ? "WordPiece" : "Unigram";
  if (type == "Unigram") return Unigram::from_json(json, where);
  if (type == "WordPiece") return WordPiece::from_json(json, where);
  fail(ErrorCode::kUnimplemented, "{}: model \"{}\" is not supported", where, type);
}

std::vector<AddedToken> read_added_tokens(const io::JsonValue& root) {
  std::vector<AddedToken> tokens;
  const auto list = root.find("added_tokens");
  if (!list) return tokens;
  for (const auto& json : list->elements("added_tokens")) {
    AddedToken token;
    token.content = json.at("content").string("added_tokens.content");
    token.single_word = json.boolean_or("single_word", false);
    token.lstrip = json.boolean_or("lstrip", false);
    token.rstrip = json.boolean_or("rstrip", false);
    token.special = json.boolean_or("special", false);
    token.normalized = json.boolean_or("normalized", !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

/// Ids of the usual names, for a tokenizer without config files.
SpecialTokens usual_special_tokens(const Pipeline& tokenizer) {
  const auto either = [&tokenizer](std::string_view a, std::string_view b) {
    const int32_t id = tokenizer.token_to_id(a);
    return id >= 0 ? id : tokenizer.token_to_id(b);
  };
  SpecialTokens out;
  out.bos = tokenizer.token_to_id("<s>");
  out.eos = tokenizer.token_to_id("</s>");
  out.cls = either("[CLS]", "<s>");
  out.sep = either("[SEP]", "</s>");
  out.pad = either("[PAD]", "<pad>");
  out.unk = either("[UNK]", "<unk>");
  out.mask = either("[MASK]", "<mask>");
  return out;
}

std::shared_ptr<Pipeline> finish(Pipeline::Config config) {
  auto tokenizer = std::make_shared<Pipeline>(std::move(config));
  tokenizer->set_special_tokens(usual_special_tokens(*tokenizer));
  return tokenizer;
}

std::shared_ptr<Pipeline> pipeline_from_json(std::string_view text, std::string_view where,
                                             const LogSink& log) {
  const auto document = io::JsonDocument::parse(text, std::string(where));
  const io::JsonValue root = document.root();
  Pipeline::Config config;
  config.model = read_model(root.at("model"), where);
  if (const auto json = root.find("normalizer"))
    config.normalizers = make_normalizers(*json, where);
  if (const auto json = root.find("pre_tokenizer")) {
    config.pre_tokenizers = make_pre_tokenizers(*json, where);
  }
  config.added = read_added_tokens(root);
  Pipeline::assign_ids(*config.model, config.added);
  if (const auto json = root.find("post_processor")) {
    const size_t limit = Pipeline::id_limit(*config.model, config.added);
    config.layout = Template::from_json(*json, limit, where);
  }
  if (const auto json = root.find("decoder")) config.decoder = Decoder::from_json(*json, where);
  log_to(log, LogLevel::kDebug, "{}: {} tokenizer, {} tokens", where, config.model->type(),
         config.model->vocabulary().size());
  return finish(std::move(config));
}

AddedToken special_token(std::string_view content) {
  AddedToken token;
  token.content = content;
  token.normalized = false;
  token.special = true;
  return token;
}

/// XLM-RoBERTa's ids (from fairseq): four tokens of its own, the pieces from the fourth on, <mask>.
std::shared_ptr<Pipeline> pipeline_from_sentencepiece(std::string_view proto,
                                                      std::string_view where) {
  const auto model = SentencePieceModel::parse(proto, where);
  constexpr size_t kReplaced = 3;  // sentencepiece's own <unk>, <s>, </s>
  if (model.model_type != 1 || model.pieces.size() < kReplaced) {
    fail(ErrorCode::kUnimplemented, "{}: only Unigram sentencepiece models are supported", where);
  }
  Pipeline::Config config;
  Vocabulary vocabulary;
  std::vector<double> scores;
  const auto add = [&](std::string_view token, double score) {
    vocabulary.add(token, static_cast<int64_t>(scores.size()), where);
    scores.push_back(score);
  };
  vocabulary.reserve(model.pieces.size() + 2, proto.size());
  for (const char* const token : {"<s>", "<pad>", "</s>", "<unk>"}) {
    add(token, 0);
    config.added.push_back(special_token(token));
  }
  for (size_t i = kReplaced; i < model.pieces.size(); ++i) {
    const auto& piece = model.pieces[i];
    add(piece.text, piece.score);
    if (piece.type == SentencePieceModel::PieceType::kUserDefined ||
        piece.type == SentencePieceModel::PieceType::kControl) {
      config.added.push_back(special_token(piece.text));
    }
  }
  add("<mask>", 0);
  config.added.push_back(special_token("<mask>"));
  config.added.back().lstrip = true;
  vocabulary.seal();
  config.model = std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), 3, where);
  Pipeline::assign_ids(*config.model, config.added);

  if (!model.charsmap.empty()) {
    config.normalizers.push_back(make_precompiled(model.charsmap, where));
  }
  config.normalizers.push_back(make_strip(false, true));
  config.normalizers.push_back(make_regex_replace(" {2,}", "\u2581", where));
  config.pre_tokenizers.push_back(make_metaspace(
      "\u2581", model.add_dummy_prefix ? PrependScheme::kAlways : PrependScheme::kNever, true));
  config.layout = Template(Template::Frame{{0}, {2, 2}, {2}, 0});
  config.decoder = Decoder::metaspace("\u2581", model.add_dummy_prefix);
  return finish(std::move(config));
}

/// BERT from vocab.txt: line n holds token n.
std::shared_ptr<Pipeline> pipeline_from_vocab(std::string_view text, std::string_view where,
                                              const TokenizerConfig& settings) {
  if (!io::is_utf8(text)) fail(ErrorCode::kDataLoss, "{}: not valid UTF-8", where);
  Vocabulary vocabulary;
  for (int64_t id = 0; !text.empty(); ++id) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    vocabulary.add(line, id, where);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  vocabulary.seal();

  Pipeline::Config config;
  WordPiece::Options options;
  options.unk_token = settings.token("unk_token").value_or("[UNK]");
  const std::string cls = settings.token("cls_token").value_or("[CLS]");
  const std::string sep = settings.token("sep_token").value_or("[SEP]");
  for (const std::string& token : {settings.token("pad_token").value_or("[PAD]"), options.unk_token,
                                   cls, sep, settings.token("mask_token").value_or("[MASK]")}) {
    if (vocabulary.id(token) >= 0) config.added.push_back(special_token(token));
  }
  const int32_t cls_id = vocabulary.id(cls);
  const int32_t sep_id = vocabulary.id(sep);
  if (cls_id < 0 || sep_id < 0) {
    fail(ErrorCode::kDataLoss, "{}: \"{}\" or \"{}\" is not in it", where, cls, sep);
  }
  config.model = std::make_unique<WordPiece>(std::move(vocabulary), options, where);
  Pipeline::assign_ids(*config.model, config.added);

  BertOptions bert;
  bert.lowercase = settings.flag("do_lower_case").value_or(true);
  bert.handle_chinese_chars = settings.flag("tokenize_chinese_chars").value_or(true);
  bert.strip_accents = settings.flag("strip_accents").value_or(bert.lowercase);
  config.normalizers.push_back(make_bert_normalizer(bert));
  config.pre_tokenizers.push_back(make_bert_pre_tokenizer());
  config.layout = Template(Template::Frame{{cls_id}, {sep_id}, {sep_id}, 1});
  config.decoder = Decoder::word_piece("##", true);
  return finish(std::move(config));
}

std::shared_ptr<Pipeline> read_any(const fs::path& directory, const TokenizerConfig& settings,
                                   const LogSink& log) {
  const auto present = [](const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
  };
  const fs::path json = directory / "tokenizer.json";
  if (present(json)) return pipeline_from_json(io::FileMap::open(json).text(), json.string(), log);
  const fs::path proto = directory / "sentencepiece.bpe.model";
  if (present(proto)) {
    log_to(log, LogLevel::kInfo, "{}: no tokenizer.json, reading {} as XLM-RoBERTa's",
           directory.string(), proto.filename().string());
    return pipeline_from_sentencepiece(io::FileMap::open(proto).text(), proto.string());
  }
  const fs::path vocab = directory / "vocab.txt";
  if (present(vocab)) {
    log_to(log, LogLevel::kInfo, "{}: no tokenizer.json, reading {} as BERT's", directory.string(),
           vocab.filename().string());
    return pipeline_from_vocab(io::FileMap::open(vocab).text(), vocab.string(), settings);
  }
  fail(ErrorCode::kNotFound,
       "{}: no tokenizer; looked for tokenizer.json, sentencepiece.bpe.model and vocab.txt",
       directory.string());
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::load(const fs::path& directory, const LogSink& log) {
  const auto settings = TokenizerConfig::read(directory);
  auto tokenizer = read_any(directory, settings, log);
  SpecialTokens specials = tokenizer->special_tokens();
  const auto set = [&](const char* name, int32_t& id) {
    if (const auto token = settings.token(name)) id = tokenizer->token_to_id(*token);
  };
  set("bos_token", specials.bos);
  set("eos_token", specials.eos);
  set("cls_token", specials.cls);
  set("sep_token", specials.sep);
  set("pad_token", specials.pad);
  set("unk_token", specials.unk);
  set("mask_token", specials.mask);
  tokenizer->set_special_tokens(specials);
  tokenizer->set_model_max_length(settings.model_max_length());
  return tokenizer;
}

std::shared_ptr<const Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json,
                                                      std::string_view where) {
  return pipeline_from_json(tokenizer_json, where, {});
}

std::shared_ptr<const Tokenizer> Tokenizer::from_sentencepiece(std::string_view model_proto,
                                                               std::string_view where) {
  return pipeline_from_sentencepiece(model_proto, where);
}

}  // namespace tamis::text
