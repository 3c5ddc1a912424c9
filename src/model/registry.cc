#include "tamis/registry.h"

#include <algorithm>
#include <array>

namespace tamis {
namespace {

constexpr std::string_view kBase = "encoder-only-base", kM3 = "encoder-only-m3",
                           kDecoder = "decoder-only-base", kIcl = "decoder-only-icl",
                           kLayerwise = "decoder-only-layerwise",
                           kLightweight = "decoder-only-lightweight";
constexpr ModelKind kEmbedderKind = ModelKind::kEmbedder, kRerankerKind = ModelKind::kCrossEncoder;
constexpr std::string_view kPlain = "{}{}", kInstruct = "Instruct: {}\nQuery: {}",
                           kInstructTight = "Instruct: {}\nQuery:{}",
                           kTags = "<instruct>{}\n<query>{}";

constexpr auto kModels = std::to_array<KnownModel>({
    {"bge-reasoner-embed-qwen3-8b-0923", kDecoder, kEmbedderKind, Pooling::kLast, kInstruct},
    {"bge-code-v1", kDecoder, kEmbedderKind, Pooling::kLast, kTags},
    {"bge-en-icl", kIcl, kEmbedderKind, Pooling::kLast, kTags},
    {"bge-multilingual-gemma2", kDecoder, kEmbedderKind, Pooling::kLast, kTags},
    {"bge-m3", kM3, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-large-en-v1.5", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-base-en-v1.5", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-small-en-v1.5", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-large-zh-v1.5", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-base-zh-v1.5", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-small-zh-v1.5", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-large-en", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-base-en", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-small-en", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-large-zh", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-base-zh", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-small-zh", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"Qwen3-Embedding-0.6B", kDecoder, kEmbedderKind, Pooling::kLast, kInstructTight},
    {"Qwen3-Embedding-4B", kDecoder, kEmbedderKind, Pooling::kLast, kInstructTight},
    {"Qwen3-Embedding-8B", kDecoder, kEmbedderKind, Pooling::kLast, kInstructTight},
    {"e5-mistral-7b-instruct", kDecoder, kEmbedderKind, Pooling::kLast, kInstruct},
    {"e5-large-v2", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"e5-base-v2", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"e5-small-v2", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"multilingual-e5-large-instruct", kBase, kEmbedderKind, Pooling::kMean, kInstruct},
    {"multilingual-e5-large", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"multilingual-e5-base", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"multilingual-e5-small", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"e5-large", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"e5-base", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"e5-small", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"gte-Qwen2-7B-instruct", kDecoder, kEmbedderKind, Pooling::kLast, kInstruct},
    {"gte-Qwen2-1.5B-instruct", kDecoder, kEmbedderKind, Pooling::kLast, kInstruct},
    {"gte-Qwen1.5-7B-instruct", kDecoder, kEmbedderKind, Pooling::kLast, kInstruct},
    {"gte-multilingual-base", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"gte-large-en-v1.5", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"gte-base-en-v1.5", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"gte-large", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"gte-base", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"gte-small", kBase, kEmbedderKind, Pooling::kMean, kPlain},
    {"gte-large-zh", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"gte-base-zh", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"gte-small-zh", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"SFR-Embedding-2_R", kDecoder, kEmbedderKind, Pooling::kLast, kInstruct},
    {"SFR-Embedding-Mistral", kDecoder, kEmbedderKind, Pooling::kLast, kInstruct},
    {"Linq-Embed-Mistral", kDecoder, kEmbedderKind, Pooling::kLast, kInstruct},
    {"bce-embedding-base_v1", kBase, kEmbedderKind, Pooling::kCls, kPlain},
    {"bge-reranker-base", kBase, kRerankerKind, Pooling::kFromModel, kPlain},
    {"bge-reranker-large", kBase, kRerankerKind, Pooling::kFromModel, kPlain},
    {"bge-reranker-v2-m3", kBase, kRerankerKind, Pooling::kFromModel, kPlain},
    {"bge-reranker-v2-gemma", kDecoder, kRerankerKind, Pooling::kFromModel, kPlain},
    {"bge-reranker-v2-minicpm-layerwise", kLayerwise, kRerankerKind, Pooling::kFromModel, kPlain},
    {"bge-reranker-v2.5-gemma2-lightweight", kLightweight, kRerankerKind, Pooling::kFromModel,
     kPlain},
    {"jina-reranker-v2-base-multilingual", kBase, kRerankerKind, Pooling::kFromModel, kPlain},
    {"gte-multilingual-reranker-base", kBase, kRerankerKind, Pooling::kFromModel, kPlain},
    {"bce-reranker-base_v1", kBase, kRerankerKind, Pooling::kFromModel, kPlain},
    {"jina-reranker-v1-turbo-en", kBase, kRerankerKind, Pooling::kFromModel, kPlain},
});

}  // namespace

const KnownModel* find_known_model(const std::filesystem::path& directory) {
  // "models/bge-m3/" and "models/." have no last part of their own.
  std::filesystem::path path = directory.lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  if (path.filename().string().starts_with("checkpoint-")) path = path.parent_path();
  const std::string name = path.filename().string();
  const auto at = std::find_if(kModels.begin(), kModels.end(),
                               [&](const KnownModel& model) { return model.name == name; });
  return at == kModels.end() ? nullptr : &*at;
}

std::span<const KnownModel> known_models() { return kModels; }

}  // namespace tamis
