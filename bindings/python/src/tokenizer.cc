#include "tamis/tokenizer.h"

#include "classes.h"

namespace tamis::python {
namespace {

nb::tuple result_of(TokenizedInput input) {
  return nb::make_tuple(input.ids, input.type_ids, input.truncated, input.utf8_replacements);
}

}  // namespace

void add_tokenizer(nb::module_& m) {
  nb::class_<Tokenizer>(m, "Tokenizer")
      .def_static(
          "load",
          [](const std::filesystem::path& directory) {
            const WithoutGil no_gil;
            return Tokenizer::load(directory);
          },
          nb::arg("directory"))
      .def(
          "encode",
          [](const Tokenizer& self, nb::handle text, size_t max_length) {
            return result_of(self.encode(text_of(text, "text"), max_length));
          },
          nb::arg("text").none(), nb::arg("max_length"))
      .def(
          "encode_pair",
          [](const Tokenizer& self, nb::handle query, nb::handle passage, size_t max_length) {
            return result_of(
                self.encode_pair(text_of(query, "query"), text_of(passage, "passage"), max_length));
          },
          nb::arg("query").none(), nb::arg("passage").none(), nb::arg("max_length"))
      .def(
          "decode",
          [](const Tokenizer& self, const std::vector<int32_t>& ids) { return self.decode(ids); },
          nb::arg("ids"))
      .def("id_to_token",
           [](const Tokenizer& self, int32_t id) { return std::string(self.id_to_token(id)); })
      .def("token_to_id",
           [](const Tokenizer& self, const std::string& token) { return self.token_to_id(token); })
      .def_prop_ro("vocab_size", &Tokenizer::vocab_size)
      .def_prop_ro("model_type",
                   [](const Tokenizer& self) { return std::string(self.model_type()); });
}

}  // namespace tamis::python
