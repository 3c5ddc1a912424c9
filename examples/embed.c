/* Embeds texts with BGE-M3's three outputs where the model has them: embed MODEL TEXT... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tamis/c_api.h"

static int failed(tamis_error* error) {
  fprintf(stderr, "embed: error %d: %s\n", tamis_error_code(error), tamis_error_message(error));
  tamis_error_free(error);
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL TEXT...\n", argv[0]);
    return 64;
  }
  tamis_error* error = NULL;
  tamis_embedder* embedder = NULL;
  tamis_embeddings* out = NULL;
  if (tamis_embedder_load(argv[1], NULL, &embedder, &error) != TAMIS_OK) return failed(error);

  size_t count = (size_t)argc - 2;
  tamis_text* texts = calloc(count, sizeof(tamis_text));
  if (texts == NULL) abort();
  for (size_t i = 0; i < count; ++i) texts[i] = (tamis_text){argv[i + 2], strlen(argv[i + 2])};

  tamis_embed_options options;
  tamis_embed_options_init(&options);
  options.sparse = options.colbert = 1;
  tamis_code code = tamis_embedder_embed(embedder, texts, count, &options, &out, &error);
  if (code == TAMIS_INVALID_ARGUMENT) { /* no such heads: the vector alone */
    tamis_error_free(error);
    options.sparse = options.colbert = 0;
    code = tamis_embedder_embed(embedder, texts, count, &options, &out, &error);
  }
  int status = code == TAMIS_OK ? 0 : failed(error);
  for (size_t i = 0; status == 0 && i < count; ++i) {
    const int32_t* ids;
    const float* weights;
    size_t words, rows, width;
    tamis_embeddings_sparse(out, i, &ids, &weights, &words);
    tamis_embeddings_colbert(out, i, &rows, &width);
    const float* vector = tamis_embeddings_dense(out) + i * tamis_embeddings_dimension(out);
    printf("%s: [%.4f, %.4f, ...] of %zu, %zu weights, %zu vectors of %zu\n", argv[i + 2],
           vector[0], vector[1], tamis_embeddings_dimension(out), words, rows, width);
  }
  tamis_embeddings_free(out);
  free(texts);
  tamis_embedder_free(embedder);
  return status;
}
