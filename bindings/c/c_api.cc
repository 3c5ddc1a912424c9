#include "tamis/c_api.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "tamis/embedder.h"
#include "tamis/error.h"
#include "tamis/reranker.h"

struct tamis_error {
  tamis_code code;
  std::string message;
};
struct tamis_reranker {
  tamis::Reranker model;
};
struct tamis_embedder {
  tamis::Embedder model;
};
struct tamis_embeddings {
  tamis::Embeddings values;
};

namespace {

tamis_code code_of(tamis::ErrorCode code) {
  return static_cast<tamis_code>(static_cast<int>(code) + 1);
}
static_assert(static_cast<int>(tamis::ErrorCode::kInvalidArgument) + 1 == TAMIS_INVALID_ARGUMENT);
static_assert(static_cast<int>(tamis::ErrorCode::kInternal) + 1 == TAMIS_INTERNAL);

tamis_code set_error(tamis_error** error, tamis_code code, const char* message) noexcept {
  if (error == nullptr) return code;
  try {
    *error = new tamis_error{code, message};
  } catch (...) {
    *error = nullptr;  // no memory for the message; the code still tells
  }
  return code;
}

/// Runs `work`; whatever it throws becomes a code and an error object.
template <class Work>
tamis_code guarded(tamis_error** error, const Work& work) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    work();
    return TAMIS_OK;
  } catch (const tamis::Error& e) {
    return set_error(error, code_of(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return set_error(error, TAMIS_RESOURCE_EXHAUSTED, "no host memory");
  } catch (const std::exception& e) {
    return set_error(error, TAMIS_INTERNAL, e.what());
  } catch (...) {
    return set_error(error, TAMIS_INTERNAL, "an exception of an unknown type");
  }
}

[[noreturn]] void refuse(const std::string& message) {
  throw tamis::Error(tamis::ErrorCode::kInvalidArgument, message);
}

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) refuse(std::string(name) + " is NULL");
}

/// What the caller's version of the structure has of it; the rest as `init` leaves it.
template <class Options>
Options known_part(const Options* given, void (*init)(Options*)) {
  Options out;
  init(&out);
  if (given == nullptr) return out;
  if (given->struct_size < sizeof(size_t) || given->struct_size > 65536) {
    refuse("struct_size is " + std::to_string(given->struct_size) +
           "; set options up with the _init function");
  }
  std::memcpy(&out, given, std::min(given->struct_size, sizeof(Options)));
  return out;
}

std::string or_empty(const char* text) { return text == nullptr ? "" : text; }

tamis::LoadOptions load_options(const tamis_load_options* given) {
  const tamis_load_options o = known_part(given, tamis_load_options_init);
  tamis::LoadOptions out;
  if (o.device != nullptr) out.device = o.device;
  out.dtype = or_empty(o.dtype);
  out.isa = or_empty(o.isa);
  out.cache_directory = or_empty(o.cache_directory);
  if (o.memory_limit_bytes > 0) out.memory_limit_bytes = o.memory_limit_bytes;
  out.batch_tokens = o.batch_tokens;
  out.threads = o.threads;
  out.pooling = tamis::parse_pooling(or_empty(o.pooling));
  return out;
}

std::vector<std::string_view> views(const tamis_text* texts, size_t count, const char* name) {
  if (count > 0) require(texts, name);
  std::vector<std::string_view> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    if (texts[i].size > 0) require(texts[i].data, name);
    out.emplace_back(texts[i].data == nullptr ? "" : texts[i].data, texts[i].size);
  }
  return out;
}

size_t labels_of(const tamis::Reranker& model) {
  const tamis::ModelInfo& info = model.info();
  return info.kind == tamis::ModelKind::kCrossEncoder ? info.labels.size() : 1;
}

}  // namespace

const char* tamis_version(void) {
  static const std::string text = tamis::version();
  return text.c_str();
}

tamis_code tamis_error_code(const tamis_error* error) {
  return error == nullptr ? TAMIS_OK : error->code;
}
const char* tamis_error_message(const tamis_error* error) {
  return error == nullptr ? "" : error->message.c_str();
}
void tamis_error_free(tamis_error* error) { delete error; }

void tamis_load_options_init(tamis_load_options* options) {
  *options = {};
  options->struct_size = sizeof(*options);
}
void tamis_score_options_init(tamis_score_options* options) {
  *options = {};
  options->struct_size = sizeof(*options);
  options->max_length = 512;
}
void tamis_embed_options_init(tamis_embed_options* options) {
  *options = {};
  options->struct_size = sizeof(*options);
  options->normalize = -1;
  options->dense = 1;
}

tamis_code tamis_reranker_load(const char* directory, const tamis_load_options* options,
                               tamis_reranker** reranker, tamis_error** error) {
  return guarded(error, [&] {
    require(directory, "directory");
    require(reranker, "reranker");
    *reranker = new tamis_reranker{tamis::Reranker::load(directory, load_options(options))};
  });
}

void tamis_reranker_free(tamis_reranker* reranker) { delete reranker; }

size_t tamis_reranker_labels(const tamis_reranker* reranker) {
  return reranker == nullptr ? 0 : labels_of(reranker->model);
}

tamis_code tamis_reranker_score(const tamis_reranker* reranker, const tamis_text* queries,
                                const tamis_text* passages, size_t count,
                                const tamis_score_options* options, float* logits,
                                tamis_error** error) {
  return guarded(error, [&] {
    require(reranker, "reranker");
    const auto left = views(queries, count, "queries"), right = views(passages, count, "passages");
    if (count == 0) return;
    require(logits, "logits");
    const tamis_score_options o = known_part(options, tamis_score_options_init);
    tamis::RerankOptions run;
    run.max_length = o.max_length;
    run.query_max_length = o.query_max_length;
    std::vector<tamis::RerankRequest> requests;
    for (size_t i = 0; i < count; ++i) {
      // Neighbours that share a query are one request, so that it is tokenised once.
      if (i == 0 || left[i] != left[i - 1]) requests.push_back({left[i], {}});
      requests.back().passages.push_back(right[i]);
    }
    const size_t labels = labels_of(reranker->model);
    float* to = logits;
    for (const auto& results : reranker->model.rerank(requests, run)) {
      for (const tamis::RerankResult& result : results) {
        if (labels == 1) {
          to[result.index] = result.logit;
        } else {
          std::copy(result.logits.begin(), result.logits.end(), to + result.index * labels);
        }
      }
      to += results.size() * labels;
    }
  });
}

tamis_code tamis_reranker_to(const tamis_reranker* reranker, const char* devices,
                             tamis_error** error) {
  return guarded(error, [&] {
    require(reranker, "reranker");
    require(devices, "devices");
    reranker->model.to(devices);
  });
}

tamis_code tamis_embedder_load(const char* directory, const tamis_load_options* options,
                               tamis_embedder** embedder, tamis_error** error) {
  return guarded(error, [&] {
    require(directory, "directory");
    require(embedder, "embedder");
    *embedder = new tamis_embedder{tamis::Embedder::load(directory, load_options(options))};
  });
}

void tamis_embedder_free(tamis_embedder* embedder) { delete embedder; }

tamis_code tamis_embedder_to(const tamis_embedder* embedder, const char* devices,
                             tamis_error** error) {
  return guarded(error, [&] {
    require(embedder, "embedder");
    require(devices, "devices");
    embedder->model.to(devices);
  });
}

tamis_code tamis_embedder_embed(const tamis_embedder* embedder, const tamis_text* texts,
                                size_t count, const tamis_embed_options* options,
                                tamis_embeddings** embeddings, tamis_error** error) {
  return guarded(error, [&] {
    require(embedder, "embedder");
    require(embeddings, "embeddings");
    const tamis_embed_options o = known_part(options, tamis_embed_options_init);
    tamis::EmbedOptions run;
    run.max_length = o.max_length;
    run.dimension = o.dimension;
    run.dense = o.dense != 0;
    run.sparse = o.sparse != 0;
    run.colbert = o.colbert != 0;
    if (o.normalize >= 0) run.normalize = o.normalize != 0;
    *embeddings = new tamis_embeddings{embedder->model.embed(views(texts, count, "texts"), run)};
  });
}

void tamis_embeddings_free(tamis_embeddings* embeddings) { delete embeddings; }

size_t tamis_embeddings_count(const tamis_embeddings* embeddings) {
  return embeddings == nullptr ? 0 : embeddings->values.count;
}

size_t tamis_embeddings_dimension(const tamis_embeddings* embeddings) {
  return embeddings == nullptr ? 0 : embeddings->values.dimension;
}

const float* tamis_embeddings_dense(const tamis_embeddings* embeddings) {
  if (embeddings == nullptr || embeddings->values.values.empty()) return nullptr;
  return embeddings->values.values.data();
}

void tamis_embeddings_sparse(const tamis_embeddings* embeddings, size_t i, const int32_t** ids,
                             const float** weights, size_t* size) {
  *ids = nullptr;
  *weights = nullptr;
  *size = 0;
  if (embeddings == nullptr || i >= embeddings->values.sparse.size()) return;
  const tamis::SparseVector& vector = embeddings->values.sparse[i];
  *ids = vector.ids.data();
  *weights = vector.weights.data();
  *size = vector.ids.size();
}

const float* tamis_embeddings_colbert(const tamis_embeddings* embeddings, size_t i, size_t* rows,
                                      size_t* dimension) {
  *rows = *dimension = 0;
  if (embeddings == nullptr || i + 1 >= embeddings->values.colbert_offsets.size()) return nullptr;
  const tamis::TokenVectorsView vectors = embeddings->values.colbert(i);
  *rows = vectors.count();
  *dimension = vectors.dimension;
  return vectors.values.data();
}
