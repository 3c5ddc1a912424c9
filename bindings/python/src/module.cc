// tamis._native: the library as the package's Python files see it. Users see those.

#include "classes.h"
#include "tamis/registry.h"

namespace tamis::python {
namespace {

/// As the exception class that tamis.errors has for the code.
void translate(const std::exception_ptr& exception, void*) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    const std::string code(info(error.code()).name);
    const nb::object type = nb::module_::import_("tamis.errors").attr("by_code")[code.c_str()];
    PyErr_SetObject(type.ptr(), nb::str(error.what()).ptr());
  }
}

nb::object known_model(const std::filesystem::path& path) {
  const KnownModel* model = find_known_model(path);
  if (model == nullptr) return nb::none();
  const char* pooling = model->pooling == Pooling::kMean   ? "mean"
                        : model->pooling == Pooling::kLast ? "last_token"
                                                           : "cls";
  nb::dict out;
  out["name"] = model->name;
  out["model_class"] = model->model_class;
  out["kind"] = model->kind == ModelKind::kEmbedder ? "embedder" : "reranker";
  out["pooling"] = pooling;
  out["query_format"] = model->query_format;
  out["supported"] = model->supported();
  return out;
}

std::vector<std::string> known_names() {
  std::vector<std::string> out;
  for (const KnownModel& model : known_models()) out.emplace_back(model.name);
  return out;
}

}  // namespace
}  // namespace tamis::python

NB_MODULE(_native, m) {
  using namespace tamis::python;
  nb::register_exception_translator(translate);
  add_place_types(m);
  add_reranker(m);
  add_embedder(m);
  add_tokenizer(m);
  m.def("version", &tamis::version);
  m.def("supported_isas", &tamis::supported_isas);
  m.def("known_model", &known_model, nb::arg("path"));
  m.def("known_names", &known_names);
  nb::module_::import_("atexit").attr("register")(nb::cpp_function(&close_calls));
}
