#ifndef TAMIS_C_API_H_
#define TAMIS_C_API_H_

/* Tamis for C, and for whatever calls C: the shared library libtamis_c.
 *
 * Rules. A function that can fail returns TAMIS_OK (0) or the code of the error, and then sets
 * *error, if error is not NULL, to an object that the caller frees with tamis_error_free. Handles
 * are made by *_load and freed by *_free; NULL may be freed. Text is UTF-8 with a length and may
 * contain zeros; ill-formed parts are replaced. const calls on one handle may run at the same time.
 * Structures begin with their size: set them up with the *_init functions, so that a program goes
 * on working with a later library. Nothing is printed, and no C++ exception leaves the library. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TAMIS_API __attribute__((visibility("default")))

typedef enum tamis_code {
  TAMIS_OK = 0,
  TAMIS_INVALID_ARGUMENT = 1,
  TAMIS_NOT_FOUND = 2,
  TAMIS_DATA_LOSS = 3,
  TAMIS_UNIMPLEMENTED = 4,
  TAMIS_RESOURCE_EXHAUSTED = 5,
  TAMIS_UNAVAILABLE = 6,
  TAMIS_CANCELLED = 7,
  TAMIS_INTERNAL = 8
} tamis_code;

typedef struct tamis_error tamis_error;
typedef struct tamis_reranker tamis_reranker;
typedef struct tamis_embedder tamis_embedder;
typedef struct tamis_embeddings tamis_embeddings;

typedef struct tamis_text {
  const char* data;
  size_t size; /* bytes */
} tamis_text;

typedef struct tamis_load_options {
  size_t struct_size;
  const char* device;          /* "cpu", "cuda:0", "cpu,cpu"; NULL = "cpu" */
  const char* dtype;           /* "f32", "f16", "bf16", "int8"; NULL = as the directory says */
  const char* isa;             /* of the cpu; NULL = the best */
  const char* pooling;         /* "cls", "mean", "last", "splade"; NULL = as the directory says */
  const char* cache_directory; /* for packed weights; NULL = none */
  uint64_t memory_limit_bytes; /* on each device; 0 = none */
  uint64_t batch_tokens;       /* 0 = what suits the device */
  int32_t threads;             /* 0 = all usable cores */
} tamis_load_options;

typedef struct tamis_score_options {
  size_t struct_size;
  size_t max_length;       /* tokens of a pair; 512 */
  size_t query_max_length; /* tokens of the query; 0 = 3/4 of max_length */
} tamis_score_options;

typedef struct tamis_embed_options {
  size_t struct_size;
  size_t max_length; /* tokens of a text; 0 = the model's own limit */
  size_t dimension;  /* numbers that vectors are cut to; 0 = all */
  int32_t normalize; /* 1, 0, or -1 = as the model says */
  int32_t dense;     /* 1 */
  int32_t sparse;    /* 0; BGE-M3's lexical weights */
  int32_t colbert;   /* 0; BGE-M3's vectors of tokens */
} tamis_embed_options;

TAMIS_API const char* tamis_version(void);

TAMIS_API tamis_code tamis_error_code(const tamis_error* error);
/* Lives as long as the error. */
TAMIS_API const char* tamis_error_message(const tamis_error* error);
TAMIS_API void tamis_error_free(tamis_error* error);

TAMIS_API void tamis_load_options_init(tamis_load_options* options);
TAMIS_API void tamis_score_options_init(tamis_score_options* options);
TAMIS_API void tamis_embed_options_init(tamis_embed_options* options);

/* options may be NULL. */
TAMIS_API tamis_code tamis_reranker_load(const char* directory, const tamis_load_options* options,
                                         tamis_reranker** reranker, tamis_error** error);
TAMIS_API void tamis_reranker_free(tamis_reranker* reranker);
/* Logits of each pair: 1 for most models. */
TAMIS_API size_t tamis_reranker_labels(const tamis_reranker* reranker);
/* Pair i is (queries[i], passages[i]); logits is [count, labels], row-major. */
TAMIS_API tamis_code tamis_reranker_score(const tamis_reranker* reranker, const tamis_text* queries,
                                          const tamis_text* passages, size_t count,
                                          const tamis_score_options* options, float* logits,
                                          tamis_error** error);
/* Moves the model, while calls go on; if it fails, the model stays where it is. */
TAMIS_API tamis_code tamis_reranker_to(const tamis_reranker* reranker, const char* devices,
                                       tamis_error** error);

TAMIS_API tamis_code tamis_embedder_load(const char* directory, const tamis_load_options* options,
                                         tamis_embedder** embedder, tamis_error** error);
TAMIS_API void tamis_embedder_free(tamis_embedder* embedder);
TAMIS_API tamis_code tamis_embedder_to(const tamis_embedder* embedder, const char* devices,
                                       tamis_error** error);
TAMIS_API tamis_code tamis_embedder_embed(const tamis_embedder* embedder, const tamis_text* texts,
                                          size_t count, const tamis_embed_options* options,
                                          tamis_embeddings** embeddings, tamis_error** error);

TAMIS_API void tamis_embeddings_free(tamis_embeddings* embeddings);
TAMIS_API size_t tamis_embeddings_count(const tamis_embeddings* embeddings);
/* Numbers of a vector. */
TAMIS_API size_t tamis_embeddings_dimension(const tamis_embeddings* embeddings);
/* [count, dimension], row-major; NULL if dense was 0. What these functions point to lives as long
 * as the embeddings. */
TAMIS_API const float* tamis_embeddings_dense(const tamis_embeddings* embeddings);
/* Lexical weights of text i: *size ids and weights; 0 if sparse was 0 or i is too large. */
TAMIS_API void tamis_embeddings_sparse(const tamis_embeddings* embeddings, size_t i,
                                       const int32_t** ids, const float** weights, size_t* size);
/* ColBERT vectors of text i, [*rows, *dimension]; NULL if colbert was 0 or i is too large. */
TAMIS_API const float* tamis_embeddings_colbert(const tamis_embeddings* embeddings, size_t i,
                                                size_t* rows, size_t* dimension);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_C_API_H_ */
