// Globals, calls and containers: what the opcodes build.

#include <string>
#include <utility>

#include "io/foreign.h"
#include "io/pickle_machine.h"

namespace tamis::io {

namespace {

constexpr size_t kMaxDimensions = 64;  // torch's own limit

struct StorageType {
  std::string_view name;
  DType dtype;
};
constexpr StorageType kStorageTypes[] = {
    {"FloatStorage", DType::kF32},  {"HalfStorage", DType::kF16}, {"BFloat16Storage", DType::kBF16},
    {"DoubleStorage", DType::kF64}, {"LongStorage", DType::kI64}, {"IntStorage", DType::kI32},
    {"ShortStorage", DType::kI16},  {"CharStorage", DType::kI8},  {"ByteStorage", DType::kU8},
    {"BoolStorage", DType::kBool}};

std::string_view kind_name(PickleValue::Kind kind) {
  constexpr std::string_view kNames[] = {"None",     "a boolean", "an integer", "a number",
                                         "a string", "bytes",     "a tuple",    "a list",
                                         "a dict",   "a global",  "a storage",  "a tensor"};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  std::optional<PickleValue> found;
  const auto take = [&](Global global, DType dtype = DType::kF32) {
    found.emplace();
    found->global = global;
    found->dtype = dtype;
  };
  if (module == "collections" && name == "OrderedDict") take(Global::kOrderedDict);
  if (module == "torch._utils" && name == "_rebuild_tensor_v2") take(Global::kRebuildTensor);
  if (module == "torch._utils" && name == "_rebuild_parameter") take(Global::kRebuildParameter);
  if (module == "torch") {
    for (const StorageType& type : kStorageTypes) {
      if (type.name == name) take(Global::kStorageType, type.dtype);
    }
  }
  if (!found) {
    refuse("global {}.{} is not allowed in a file of weights; nothing of it was run",
           printable(module), printable(name));
  }
  PickleValue& value = values_[push(Kind::kGlobal)];
  value.global = found->global;
  value.dtype = found->dtype;
}

void PickleMachine::push_stack_global() {
  const PickleValue& name = values_[pop()];
  const PickleValue& module = values_[pop()];
  if (name.kind != Kind::kString || module.kind != Kind::kString) {
    refuse("STACK_GLOBAL: expected two strings, got {} and {}", kind_name(module.kind),
           kind_name(name.kind));
  }
  push_global(std::string_view(module.text), std::string_view(name.text));
}

// ("storage", torch.FloatStorage, key, location, elements), as torch.save writes it.
void PickleMachine::push_persistent() {
  const PickleId id = pop();
  const std::vector<PickleId>& parts = values_[id].items;
  const auto is = [&](size_t i, Kind kind) { return values_[parts[i]].kind == kind; };
  if (values_[id].kind != Kind::kTuple || parts.size() != 5 || !is(0, Kind::kString) ||
      values_[parts[0]].text != "storage" || !is(1, Kind::kGlobal) ||
      values_[parts[1]].global != Global::kStorageType || !is(2, Kind::kString)) {
    refuse("persistent id: expected (\"storage\", type, key, location, elements), got {}",
           values_[id].kind == Kind::kTuple ? "another tuple" : kind_name(values_[id].kind));
  }
  PickleValue storage;
  storage.kind = Kind::kStorage;
  storage.dtype = values_[parts[1]].dtype;
  storage.text = values_[parts[2]].text;
  storage.integer = natural(parts[4], "elements of a storage");
  values_[push(Kind::kStorage)] = std::move(storage);
}

void PickleMachine::reduce() {
  const PickleId arguments = pop();
  const PickleId callee = pop();
  if (values_[callee].kind != Kind::kGlobal || values_[arguments].kind != Kind::kTuple) {
    refuse("REDUCE: expected an allowed global and a tuple, got {} and {}",
           kind_name(values_[callee].kind), kind_name(values_[arguments].kind));
  }
  const std::vector<PickleId>& items = values_[arguments].items;  // until the next push
  switch (values_[callee].global) {
    case Global::kOrderedDict:
      if (!items.empty()) refuse("OrderedDict: expected no arguments, got {}", items.size());
      push(Kind::kDict);
      return;
    case Global::kRebuildTensor:
      rebuild_tensor(items);
      return;
    case Global::kRebuildParameter:
      if (items.empty() || values_[items[0]].kind != Kind::kTensor) {
        refuse("_rebuild_parameter: expected a tensor first");
      }
      stack_.push_back(items[0]);
      return;
    case Global::kStorageType:
      refuse("REDUCE: a storage type cannot be called");
  }
}

// (storage, offset, size, stride, requires_grad, backward_hooks[, metadata])
void PickleMachine::rebuild_tensor(const std::vector<PickleId>& arguments) {
  if (arguments.size() < 6 || arguments.size() > 7) {
    refuse("_rebuild_tensor_v2: expected 6 or 7 arguments, got {}", arguments.size());
  }
  const PickleValue& storage = values_[arguments[0]];
  if (storage.kind != Kind::kStorage) {
    refuse("_rebuild_tensor_v2: expected a storage, got {}", kind_name(storage.kind));
  }
  if (tensors_.size() == kMaxPickleTensors) {
    refuse("expected at most {} tensors, got more", kMaxPickleTensors);
  }
  PickledTensor tensor;
  tensor.storage = storage.text;
  tensor.dtype = storage.dtype;
  tensor.storage_elements = storage.integer;
  tensor.offset = natural(arguments[1], "offset");
  tensor.shape = sizes(arguments[2], "size");
  tensor.strides = sizes(arguments[3], "stride");
  if (tensor.strides.size() != tensor.shape.size()) {
    refuse("_rebuild_tensor_v2: expected {} strides, got {}", tensor.shape.size(),
           tensor.strides.size());
  }
  tensors_.push_back(std::move(tensor));
  values_[push(Kind::kTensor)].integer = static_cast<int64_t>(tensors_.size() - 1);
}

void PickleMachine::append(PickleId list, const std::vector<PickleId>& items) {
  PickleValue& value = values_[list];
  if (value.kind != Kind::kList) refuse("expected a list, got {}", kind_name(value.kind));
  value.items.insert(value.items.end(), items.begin(), items.end());
}

void PickleMachine::set_items(PickleId dict, const std::vector<PickleId>& items) {
  PickleValue& value = values_[dict];
  if (value.kind != Kind::kDict) refuse("expected a dict, got {}", kind_name(value.kind));
  if (items.size() % 2 != 0) refuse("expected keys and values, got {} of them", items.size());
  value.items.insert(value.items.end(), items.begin(), items.end());
}

// A state_dict carries its _metadata as an attribute; it says nothing about the tensors.
void PickleMachine::set_state() {
  const Kind state = values_[pop()].kind;
  const Kind object = values_[top()].kind;
  if (object != Kind::kDict || state != Kind::kDict) {
    refuse("BUILD: expected an OrderedDict and a dict, got {} and {}", kind_name(object),
           kind_name(state));
  }
}

std::vector<int64_t> PickleMachine::sizes(PickleId tuple, std::string_view what) const {
  const PickleValue& value = values_[tuple];
  if (value.kind != Kind::kTuple || value.items.size() > kMaxDimensions) {
    refuse("{}: expected a tuple of at most {} integers, got {}", what, kMaxDimensions,
           value.kind == Kind::kTuple ? std::to_string(value.items.size())
                                      : std::string(kind_name(value.kind)));
  }
  std::vector<int64_t> out;
  out.reserve(value.items.size());
  for (const PickleId id : value.items) out.push_back(natural(id, what));
  return out;
}

int64_t PickleMachine::natural(PickleId id, std::string_view what) const {
  const PickleValue& value = values_[id];
  if (value.kind != Kind::kInteger || value.integer < 0) {
    refuse("{}: expected an integer >= 0, got {}", what,
           value.kind == Kind::kInteger ? std::to_string(value.integer)
                                        : std::string(kind_name(value.kind)));
  }
  return value.integer;
}

}  // namespace tamis::io
