#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <string>
#include <utility>

#include "call.h"
#include "convert.h"
#include "tamis/device.h"
#include "tamis/error.h"
#include "tamis/place.h"

namespace tamis::python {

/// A loaded model that Python owns, until it is closed.
template <class Model>
class Handle {
 public:
  Handle(std::shared_ptr<Model> model, LogQueue log)
      : model_(std::move(model)), log_(std::move(log)) {}

  /// Errors: invalid_argument (closed).
  const std::shared_ptr<Model>& get() const {
    if (model_ == nullptr) throw Error(ErrorCode::kInvalidArgument, "the model is closed");
    return model_;
  }
  void close() {
    std::shared_ptr<Model> last = std::move(model_);
    model_ = nullptr;
    const WithoutGil no_gil;
    last.reset();
  }
  bool closed() const { return model_ == nullptr; }
  LogQueue& log() { return log_; }

 private:
  std::shared_ptr<Model> model_;
  LogQueue log_;
};

/// run_call, then what the library had to say.
template <class Model, class Work>
auto run_on(Handle<Model>& handle, const nb::object& progress, Work work) {
  struct Flush {
    LogQueue& log;
    ~Flush() {
      nb::error_scope keep;  // an error of the call is on its way
      try {
        log.flush();
      } catch (nb::python_error& e) {
        e.discard_as_unraisable("tamis: logging");
      }
    }
  } flush{handle.log()};
  return run_call(progress, std::move(work));
}

/// Loads a Reranker or an Embedder; nothing of Python's is touched by the thread that loads.
template <class Model>
Handle<Model> load_model(const std::filesystem::path& directory, LoadOptions options) {
  LogQueue log;
  options.log = log.sink();
  auto model = run_call(nb::none(), [directory, options](const Progress&) {
    return std::make_shared<Model>(Model::load(directory, options));
  });
  log.flush();
  return {std::move(model), std::move(log)};
}

/// What all models have: place, to, warm-up, memory, close.
template <class Model, class Class>
void add_place(Class& type) {
  using Self = Handle<Model>;
  type.def(
          "to",
          [](Self& self, std::string devices, MoveOptions options) {
            return dict_of(run_on(
                self, nb::none(),
                [model = self.get(), devices = std::move(devices), options = std::move(options)](
                    const Progress&) { return model->place().to(devices, options); }));
          },
          nb::arg("devices"), nb::arg("options"))
      .def("device", [](Self& self) { return self.get()->device(); })
      .def("placement", [](Self& self) { return list_of(self.get()->placement()); })
      .def("memory_plan", [](Self& self) { return dict_of(self.get()->memory_plan()); })
      .def(
          "warmup",
          [](Self& self, WarmupOptions options) {
            return list_of(run_on(self, nb::none(), [model = self.get(), options](const Progress&) {
              return model->place().warmup(options);
            }));
          },
          nb::arg("options"))
      .def("trim",
           [](Self& self) {
             return run_on(self, nb::none(),
                           [model = self.get()](const Progress&) { return model->place().trim(); });
           })
      .def("info", [](Self& self) { return dict_of(self.get()->info()); })
      .def("effective_max_length",
           [](Self& self, size_t n) { return self.get()->effective_max_length(n); })
      .def("close", &Self::close)
      .def_prop_ro("closed", &Self::closed);
}

void add_place_types(nb::module_& m);
void add_reranker(nb::module_& m);
void add_embedder(nb::module_& m);
void add_tokenizer(nb::module_& m);

}  // namespace tamis::python
