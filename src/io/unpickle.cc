#include "io/unpickle.h"

#include <fmt/format.h>

#include "base/fail.h"
#include "io/foreign.h"
#include "io/pickle_machine.h"
#include "io/utf8.h"

namespace tamis::io {

namespace {

// Dicts may contain each other, or themselves: what a walk may cost is bounded here.
constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxVisits = kMaxPickleValues;
constexpr size_t kMaxNameBytes = size_t{32} << 20;  // of all names together

class Collector {
 public:
  Collector(const PickleMachine& machine, std::string_view where)
      : machine_(machine), where_(where) {}

  void collect(PickleId dict, const std::string& prefix, size_t depth) {
    if (depth > kMaxDepth) {
      fail(ErrorCode::kDataLoss, "{}: expected dicts nested at most {} deep, got more in \"{}\"",
           where_, kMaxDepth, printable(prefix));
    }
    const auto& items = machine_.value(dict).items;
    for (size_t i = 0; i < items.size(); i += 2) {
      const PickleValue& value = machine_.value(items[i + 1]);
      visit();
      if (value.kind == PickleValue::Kind::kDict) {
        collect(items[i + 1], join(prefix, items[i]), depth + 1);
      } else if (value.kind == PickleValue::Kind::kTensor) {
        if (tensors.size() == kMaxPickleTensors) refuse_more("tensors", kMaxPickleTensors);
        tensors.push_back(machine_.tensor(value));
        tensors.back().name = join(prefix, items[i]);
      }
    }
  }

  std::vector<PickledTensor> tensors;

 private:
  void visit() {
    if (++visits_ > kMaxVisits) refuse_more("entries of dicts", kMaxVisits);
  }

  [[noreturn]] void refuse_more(std::string_view what, size_t limit) const {
    fail(ErrorCode::kDataLoss, "{}: expected at most {} {}, got more", where_, limit, what);
  }

  std::string join(const std::string& prefix, PickleId key) {
    const PickleValue& value = machine_.value(key);
    std::string name = prefix.empty() ? "" : prefix + ".";
    if (value.kind == PickleValue::Kind::kInteger) {
      name += std::to_string(value.integer);
    } else if (value.kind == PickleValue::Kind::kString && is_utf8(value.text)) {
      name += value.text;
    } else {
      fail(ErrorCode::kDataLoss, "{}: keys of \"{}\": expected UTF-8 strings, got something else",
           where_, printable(prefix));
    }
    name_bytes_ += name.size();
    if (name_bytes_ > kMaxNameBytes) refuse_more("bytes of names", kMaxNameBytes);
    return name;
  }

  const PickleMachine& machine_;
  std::string_view where_;
  size_t visits_ = 0;
  size_t name_bytes_ = 0;
};

}  // namespace

std::vector<PickledTensor> unpickle_tensors(std::span<const std::byte> pickle,
                                            std::string_view where) {
  PickleMachine machine(pickle, where);
  const PickleId root = machine.run();
  if (machine.value(root).kind != PickleValue::Kind::kDict) {
    fail(ErrorCode::kDataLoss, "{}: expected a dict of tensors, got another object", where);
  }
  Collector collector(machine, where);
  collector.collect(root, "", 0);
  return std::move(collector.tensors);
}

}  // namespace tamis::io
