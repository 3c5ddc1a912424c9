// Options of loading and placing, and the devices of this machine.

#include "classes.h"

namespace tamis::python {

void add_place_types(nb::module_& m) {
  nb::class_<Devices>(m, "Devices")
      .def(
          "__init__",
          [](Devices* self, std::vector<std::string> sims) {
            DevicesOptions options;
            options.sims = std::move(sims);
            new (self) Devices(options);
          },
          nb::arg("sims") = std::vector<std::string>())
      .def("status", [](const Devices& self) { return list_of(self.status()); })
      .def("describe_sim", &Devices::describe_sim, nb::arg("name"), nb::arg("description"));

  nb::class_<LoadOptions>(m, "LoadOptions")
      .def(nb::init<>())
      .def_rw("device", &LoadOptions::device)
      .def_rw("dtype", &LoadOptions::dtype)
      .def_rw("threads", &LoadOptions::threads)
      .def_rw("isa", &LoadOptions::isa)
      .def_rw("memory_limit_bytes", &LoadOptions::memory_limit_bytes)
      .def_rw("batch_tokens", &LoadOptions::batch_tokens)
      .def_rw("cache_directory", &LoadOptions::cache_directory)
      .def_rw("device_timeout_ms", &LoadOptions::device_timeout_ms)
      .def("set_devices",
           [](LoadOptions& self, const Devices& devices) {
             self.devices = std::make_shared<Devices>(devices);
           })
      .def("set_pooling",
           [](LoadOptions& self, const std::string& name) { self.pooling = parse_pooling(name); });

  nb::class_<MoveOptions>(m, "MoveOptions")
      .def(nb::init<>())
      .def_rw("dtype", &MoveOptions::dtype)
      .def_rw("threads", &MoveOptions::threads)
      .def_rw("memory_limit_bytes", &MoveOptions::memory_limit_bytes)
      .def_rw("batch_tokens", &MoveOptions::batch_tokens);

  nb::class_<WarmupOptions>(m, "WarmupOptions")
      .def(nb::init<>())
      .def("add",
           [](WarmupOptions& self, size_t sequences, size_t tokens) {
             self.shapes.push_back({sequences, tokens});
           })
      .def_rw("limit_ms", &WarmupOptions::limit_ms);
}

}  // namespace tamis::python
