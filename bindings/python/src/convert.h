#pragma once

// Between Python's values and the library's.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tamis/device.h"
#include "tamis/model.h"
#include "tamis/types.h"

namespace tamis::python {

namespace nb = nanobind;

/// The UTF-8 of a str, lone surrogates as ill-formed bytes that the library replaces. `where` names
/// the argument. Errors: TypeError.
std::string text_of(nb::handle value, const std::string& where);
/// Of a list or tuple of str. Errors: TypeError, naming the first element that is none.
std::vector<std::string> texts_of(nb::handle values, const std::string& where);
/// Of a list or tuple of pairs of str.
std::vector<std::pair<std::string, std::string>> pairs_of(nb::handle values,
                                                          const std::string& where);
std::vector<std::string_view> views_of(const std::vector<std::string>& texts);

/// A numpy array that owns the values; nothing is copied. `shape` has as many numbers.
template <class T>
nb::ndarray<nb::numpy, T> array_of(std::vector<T> values, std::initializer_list<size_t> shape) {
  auto owner = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owner->data();
  nb::capsule capsule(owner.get(),
                      [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  owner.release();
  return nb::ndarray<nb::numpy, T>(data, shape.size(), std::data(shape), capsule);
}

nb::dict dict_of(const RunStats& stats);
nb::dict dict_of(const ModelInfo& info);
nb::dict dict_of(const MemoryPlan& plan);
nb::dict dict_of(const DeviceStatus& status);
nb::dict dict_of(const Placement& placement);
nb::dict dict_of(const MoveReport& report);
nb::dict dict_of(const WarmupResult& result);

template <class T>
nb::list list_of(const std::vector<T>& items) {
  nb::list out;
  for (const T& item : items) out.append(dict_of(item));
  return out;
}

/// Keeps what the library says, from any thread, until a thread with the GIL passes it on to
/// logging.getLogger("tamis"). Handing it over at once would need the GIL in a thread that somebody
/// with the GIL may wait for.
class LogQueue {
 public:
  LogSink sink();
  void flush();

 private:
  struct Lines {
    std::mutex mutex;
    std::vector<std::pair<LogLevel, std::string>> lines;
  };
  std::shared_ptr<Lines> lines_ = std::make_shared<Lines>();
};

}  // namespace tamis::python
