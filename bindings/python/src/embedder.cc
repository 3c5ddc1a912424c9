#include "tamis/embedder.h"

#include "classes.h"
#include "tamis/similarity.h"

namespace tamis::python {
namespace {

using FloatMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

/// Views of one buffer, one of each text.
nb::list colbert_arrays(Embeddings& all) {
  auto owner = std::make_unique<std::vector<float>>(std::move(all.colbert_values));
  float* data = owner->data();
  const nb::capsule capsule(owner.get(),
                            [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
  owner.release();
  nb::list out;
  for (size_t i = 0; i < all.count; ++i) {
    const size_t first = all.colbert_offsets[i];
    const size_t shape[] = {all.colbert_offsets[i + 1] - first, all.colbert_dimension};
    out.append(
        nb::ndarray<nb::numpy, float>(data + first * all.colbert_dimension, 2, shape, capsule));
  }
  return out;
}

nb::list sparse_arrays(std::vector<SparseVector> all) {
  nb::list out;
  for (SparseVector& v : all) {
    const size_t count = v.ids.size();
    out.append(nb::make_tuple(array_of(std::move(v.ids), {count}),
                              array_of(std::move(v.weights), {count})));
  }
  return out;
}

nb::dict embed(Handle<Embedder>& self, nb::handle texts, EmbedOptions options,
               const nb::object& progress) {
  struct Result {
    Embeddings embeddings;
    RunStats stats;
  };
  Result result = run_on(self, progress,
                         [model = self.get(), owned = texts_of(texts, "texts"),
                          options](const Progress& report) mutable {
                           options.progress = report;
                           Result out;
                           out.embeddings = model->embed(views_of(owned), options, &out.stats);
                           return out;
                         });
  Embeddings& e = result.embeddings;
  nb::dict out;
  out["dense"] =
      options.dense ? nb::cast(array_of(std::move(e.values), {e.count, e.dimension})) : nb::none();
  out["sparse"] = options.sparse ? nb::object(sparse_arrays(std::move(e.sparse))) : nb::none();
  out["colbert"] = options.colbert ? nb::object(colbert_arrays(e)) : nb::none();
  std::vector<int64_t> tokens(e.tokens.begin(), e.tokens.end());
  out["tokens"] = array_of(std::move(tokens), {e.count});
  out["stats"] = dict_of(result.stats);
  return out;
}

/// [pairs, 5]: dense, sparse, colbert, sparse+dense, colbert+sparse+dense.
nb::ndarray<nb::numpy, double> score(Handle<Embedder>& self, nb::handle pairs,
                                     HybridOptions options, const nb::object& progress) {
  auto scores = run_on(self, progress,
                       [model = self.get(), owned = pairs_of(pairs, "pairs"),
                        options](const Progress& report) mutable {
                         options.embed.progress = report;
                         std::vector<TextPair> views;
                         for (const auto& [query, passage] : owned) {
                           views.push_back({query, passage});
                         }
                         return model->score(views, options);
                       });
  std::vector<double> values;
  for (const HybridScore& s : scores) {
    values.insert(values.end(), {s.dense, s.sparse, s.colbert, s.sparse_dense, s.all});
  }
  return array_of(std::move(values), {scores.size(), 5});
}

double max_sim(const FloatMatrix& query, const FloatMatrix& passage) {
  const auto view = [](const FloatMatrix& m) {
    return TokenVectorsView{{m.data(), m.size()}, m.shape(1)};
  };
  const TokenVectorsView q = view(query), p = view(passage);
  const WithoutGil no_gil;
  return colbert_score(q, p);
}

}  // namespace

void add_embedder(nb::module_& m) {
  nb::class_<EmbedOptions>(m, "EmbedOptions")
      .def(nb::init<>())
      .def_rw("max_length", &EmbedOptions::max_length)
      .def_rw("batch_tokens", &EmbedOptions::batch_tokens)
      .def_rw("dense", &EmbedOptions::dense)
      .def_rw("sparse", &EmbedOptions::sparse)
      .def_rw("colbert", &EmbedOptions::colbert)
      .def_rw("dimension", &EmbedOptions::dimension)
      .def_rw("normalize", &EmbedOptions::normalize);
  nb::class_<HybridOptions>(m, "HybridOptions")
      .def(nb::init<>())
      .def_rw("max_query_length", &HybridOptions::max_query_length)
      .def_rw("max_passage_length", &HybridOptions::max_passage_length)
      .def_rw("dense_weight", &HybridOptions::dense_weight)
      .def_rw("sparse_weight", &HybridOptions::sparse_weight)
      .def_rw("colbert_weight", &HybridOptions::colbert_weight)
      .def_rw("embed", &HybridOptions::embed);
  nb::class_<Handle<Embedder>> type(m, "Embedder");
  type.def_static("load", &load_model<Embedder>, nb::arg("directory"), nb::arg("options"))
      .def("embed", &embed, nb::arg("texts").none(), nb::arg("options"), nb::arg("progress").none())
      .def("score", &score, nb::arg("pairs").none(), nb::arg("options"),
           nb::arg("progress").none());
  add_place<Embedder>(type);
  m.def("colbert_score", &max_sim, nb::arg("query"), nb::arg("passage"));
}

}  // namespace tamis::python
