#include "tamis/reranker.h"

#include <unordered_map>

#include "classes.h"

namespace tamis::python {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// What became of pairs, in their order.
struct Scores {
  size_t labels = 1;
  std::vector<float> logits;  ///< [pairs, labels]
  std::vector<int64_t> tokens;
  std::vector<uint8_t> truncated;
  RunStats stats;
};

/// Pairs that have a query in common are one request, so that it is tokenised once.
Scores score_pairs(const Reranker& model, const Pairs& pairs, const RerankOptions& options) {
  std::unordered_map<std::string_view, size_t> places;
  std::vector<RerankRequest> requests;
  std::vector<std::vector<size_t>> members;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto [place, is_new] = places.emplace(pairs[i].first, requests.size());
    if (is_new) {
      requests.push_back({pairs[i].first, {}});
      members.emplace_back();
    }
    requests[place->second].passages.push_back(pairs[i].second);
    members[place->second].push_back(i);
  }
  Scores out;
  const ModelInfo& info = model.info();
  if (info.kind == ModelKind::kCrossEncoder) out.labels = info.labels.size();
  out.logits.resize(pairs.size() * out.labels);
  out.tokens.resize(pairs.size());
  out.truncated.resize(pairs.size());
  if (pairs.empty()) return out;
  const auto results = model.rerank(requests, options, &out.stats);
  for (size_t r = 0; r < results.size(); ++r) {
    for (const RerankResult& result : results[r]) {
      const size_t i = members[r][result.index];
      out.tokens[i] = static_cast<int64_t>(result.tokens);
      out.truncated[i] = result.truncated;
      if (out.labels == 1) {
        out.logits[i] = result.logit;
      } else {
        std::copy(result.logits.begin(), result.logits.end(),
                  out.logits.begin() + static_cast<std::ptrdiff_t>(i * out.labels));
      }
    }
  }
  return out;
}

nb::dict score(Handle<Reranker>& self, nb::handle pairs, size_t max_length, size_t query_max_length,
               size_t batch_tokens, const nb::object& progress) {
  RerankOptions options;
  options.max_length = max_length;
  options.query_max_length = query_max_length;
  options.batch_tokens = batch_tokens;
  Scores scores = run_on(self, progress,
                         [model = self.get(), owned = pairs_of(pairs, "pairs"),
                          options](const Progress& report) mutable {
                           options.progress = report;
                           return score_pairs(*model, owned, options);
                         });
  const size_t count = scores.tokens.size();
  nb::dict out;
  out["logits"] = array_of(std::move(scores.logits), {count, scores.labels});
  out["tokens"] = array_of(std::move(scores.tokens), {count});
  out["truncated"] = array_of(std::move(scores.truncated), {count});
  out["stats"] = dict_of(scores.stats);
  return out;
}

}  // namespace

void add_reranker(nb::module_& m) {
  nb::class_<Handle<Reranker>> type(m, "Reranker");
  type.def_static("load", &load_model<Reranker>, nb::arg("directory"), nb::arg("options"))
      .def("score", &score, nb::arg("pairs").none(), nb::arg("max_length"),
           nb::arg("query_max_length"), nb::arg("batch_tokens"), nb::arg("progress").none());
  add_place<Reranker>(type);
}

}  // namespace tamis::python
