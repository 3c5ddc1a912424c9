// Dense, lexical and ColBERT similarity of a query and passages with BGE-M3, all from one pass:
// embed MODEL QUERY PASSAGE...
#include <cstdio>
#include <string_view>
#include <vector>

#include "tamis/embedder.h"
#include "tamis/error.h"

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s MODEL QUERY PASSAGE...\n", argv[0]);
    return 64;
  }
  try {
    const auto embedder = tamis::Embedder::load(argv[1]);
    std::vector<tamis::TextPair> pairs;
    for (int i = 3; i < argc; ++i) pairs.push_back({argv[2], argv[i]});
    std::printf("  dense  sparse colbert     all\n");
    const auto scores = embedder.score(pairs);
    for (size_t i = 0; i < scores.size(); ++i) {
      const tamis::HybridScore& s = scores[i];
      std::printf("%7.4f %7.4f %7.4f %7.4f  %s\n", s.dense, s.sparse, s.colbert, s.all,
                  pairs[i].passage.data());
    }
  } catch (const tamis::Error& error) {
    std::fprintf(stderr, "embed: %s\n", error.what());
    return tamis::info(error.code()).exit_status;
  }
}
