/* Scores the pairs of a query and each passage: score MODEL QUERY PASSAGE... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tamis/c_api.h"

static int failed(tamis_error* error) {
  fprintf(stderr, "score: error %d: %s\n", tamis_error_code(error), tamis_error_message(error));
  tamis_error_free(error);
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s MODEL QUERY PASSAGE...\n", argv[0]);
    return 64;
  }
  tamis_error* error = NULL;
  tamis_reranker* reranker = NULL;
  if (tamis_reranker_load(argv[1], NULL, &reranker, &error) != TAMIS_OK) return failed(error);

  size_t count = (size_t)argc - 3;
  size_t labels = tamis_reranker_labels(reranker);
  tamis_text* queries = calloc(count, sizeof(tamis_text));
  tamis_text* passages = calloc(count, sizeof(tamis_text));
  float* logits = calloc(count * labels, sizeof(float));
  if (queries == NULL || passages == NULL || logits == NULL) abort();
  for (size_t i = 0; i < count; ++i) {
    queries[i] = (tamis_text){argv[2], strlen(argv[2])};
    passages[i] = (tamis_text){argv[i + 3], strlen(argv[i + 3])};
  }
  int status = 0;
  if (tamis_reranker_score(reranker, queries, passages, count, NULL, logits, &error) == TAMIS_OK) {
    for (size_t i = 0; i < count; ++i) printf("%8.4f  %s\n", logits[i * labels], argv[i + 3]);
  } else {
    status = failed(error);
  }
  free(logits);
  free(passages);
  free(queries);
  tamis_reranker_free(reranker);
  return status;
}
