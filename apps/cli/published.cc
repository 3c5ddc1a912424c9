// Values that were published for real weights. Sources: README and examples/inference of
// FlagEmbedding (bge models, f16 on a GPU unless said otherwise); tests of qdrant/fastembed
// (bge-reranker-base, bge-small-en-v1.5, ms-marco, f32); the model card of
// sentence-transformers/all-MiniLM-L6-v2.

#include "published.h"

#include <array>

namespace tamis::cli {
namespace {

using enum PublishedValue::Kind;

constexpr std::string_view kPanda =
    "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a "
    "bear species endemic to China.";
constexpr std::string_view kFrance = "What is the capital of France?";
constexpr std::string_view kChina = "What is the population of China?";
constexpr std::string_view kParis = "Paris is the capital of France.";
constexpr std::string_view kBerlin = "Berlin is the capital of Germany.";
constexpr std::string_view kSearchFrance =
    "Represent this sentence for searching relevant passages: What is the capital of France?";
constexpr std::string_view kSearchChina =
    "Represent this sentence for searching relevant passages: What is the population of China?";
constexpr std::string_view kBillion = "The population of China is over 1.4 billion people.";
constexpr std::string_view kM3 = "What is BGE M3?";
constexpr std::string_view kBm25 = "Defination of BM25";  // as published
constexpr std::string_view kM3Is =
    "BGE M3 is an embedding model supporting dense retrieval, lexical matching and multi-vector "
    "interaction.";
constexpr std::string_view kBm25Is =
    "BM25 is a bag-of-words retrieval function that ranks a set of documents based on the query "
    "terms appearing in each document";
constexpr std::string_view kWeather = "The weather is lovely today.";
constexpr std::string_view kSunny = "It's so sunny outside!";
constexpr std::string_view kStadium = "He drove to the stadium.";

constexpr auto kValues = std::to_array<PublishedValue>({
    {"bge-reranker-v2-m3", kLogit, "query", "passage", -5.65234375, 0.03},
    {"bge-reranker-v2-m3", kLogit, "what is panda?", "hi", -8.1875, 0.03},
    {"bge-reranker-v2-m3", kLogit, "what is panda?", kPanda, 5.26171875, 0.03},
    {"bge-reranker-large", kLogit, kFrance, kParis, 7.9765625, 0.03},
    {"bge-reranker-large", kLogit, kFrance, kBillion, -6.84375, 0.03},
    {"bge-reranker-large", kLogit, kChina, kParis, -7.15625, 0.03},
    {"bge-reranker-large", kLogit, kChina, kBillion, 5.453125, 0.03},
    {"bge-reranker-base", kLogit, kFrance, kParis, 6.15733337, 1e-3},
    {"bge-reranker-base", kLogit, kFrance, kBerlin, -3.65939403, 1e-3},
    {"bge-m3", kCosine, kM3, kM3Is, 0.6259, 1e-3},
    {"bge-m3", kCosine, kM3, kBm25Is, 0.3475, 1e-3},
    {"bge-m3", kCosine, kBm25, kM3Is, 0.3499, 1e-3},
    {"bge-m3", kCosine, kBm25, kBm25Is, 0.6782, 1e-3},
    {"bge-m3", kLexical, kM3, kM3Is, 0.195544, 1e-3},
    {"bge-m3", kLexical, kM3, kBm25Is, 0.008804, 1e-3},
    {"bge-m3", kLexical, kBm25, kM3Is, 0.0, 1e-3},
    {"bge-m3", kLexical, kBm25, kBm25Is, 0.1803, 1e-3},
    {"bge-m3", kColbert, kM3, kM3Is, 0.77967, 1e-3},
    {"bge-m3", kColbert, kM3, kBm25Is, 0.46212, 1e-3},
    {"bge-m3", kColbert, kBm25, kM3Is, 0.45238, 1e-3},
    {"bge-m3", kColbert, kBm25, kBm25Is, 0.78986, 1e-3},
    {"bge-base-en-v1.5", kCosine, "embedding", "I love machine learning and nlp", 0.6077381, 1e-5},
    {"bge-small-en-v1.5", kCosine, kSearchFrance, kParis, 0.7944, 1e-3},
    {"bge-small-en-v1.5", kCosine, kSearchFrance, kBillion, 0.4492, 1e-3},
    {"bge-small-en-v1.5", kCosine, kSearchChina, kParis, 0.58, 1e-3},
    {"bge-small-en-v1.5", kCosine, kSearchChina, kBillion, 0.801, 1e-3},
    {"bge-small-en-v1.5", kNumber, "hello world", "", 0.01522374, 1e-3, 0},
    {"bge-small-en-v1.5", kNumber, "hello world", "", -0.07424029, 1e-3, 3},
    {"ms-marco-MiniLM-L-6-v2", kLogit, kFrance, kParis, 8.500708, 1e-3},
    {"ms-marco-MiniLM-L-6-v2", kLogit, kFrance, kBerlin, -2.541011, 1e-3},
    {"ms-marco-MiniLM-L-12-v2", kLogit, kFrance, kParis, 9.330912, 1e-3},
    {"ms-marco-MiniLM-L-12-v2", kLogit, kFrance, kBerlin, -2.0380247, 1e-3},
    {"all-MiniLM-L6-v2", kCosine, kWeather, kSunny, 0.6660, 1e-4},
    {"all-MiniLM-L6-v2", kCosine, kWeather, kStadium, 0.1046, 1e-4},
    {"all-MiniLM-L6-v2", kCosine, kSunny, kStadium, 0.1411, 1e-4},
    {"all-MiniLM-L6-v2", kNumber, "hello world", "", -0.034478, 1e-5, 0},
    {"all-MiniLM-L6-v2", kNumber, "hello world", "", 0.03102, 1e-5, 1},
    {"all-MiniLM-L6-v2", kNumber, "hello world", "", -0.039362, 1e-5, 4},
});

}  // namespace

std::span<const PublishedValue> published_values() { return kValues; }

std::string_view kind_name(PublishedValue::Kind kind) {
  switch (kind) {
    case kLogit:
      return "logit";
    case kSigmoid:
      return "sigmoid";
    case kCosine:
      return "cosine";
    case kLexical:
      return "sparse";
    case kColbert:
      return "colbert";
    case kNumber:
      return "number";
  }
  return "";
}

}  // namespace tamis::cli
