#pragma once

// The machine behind unpickle_tensors: reads opcodes, builds values. Internal to io.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/fail.h"
#include "io/unpickle.h"

namespace tamis::io {

/// Index of a value in the machine. Lists and dicts are shared by index, as Python shares them.
using PickleId = uint32_t;

struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInteger,
    kFloat,
    kString,
    kBytes,
    kTuple,
    kList,
    kDict,
    kGlobal,
    kStorage,
    kTensor
  };
  enum class Global : uint8_t { kOrderedDict, kRebuildTensor, kRebuildParameter, kStorageType };

  Kind kind = Kind::kNone;
  Global global = Global::kOrderedDict;  ///< of a global
  DType dtype = DType::kF32;             ///< of a storage or storage type
  int64_t integer = 0;          ///< of an integer or bool; elements of a storage; a tensor's index
  std::string_view text;        ///< of a string; key of a storage
  std::vector<PickleId> items;  ///< of a tuple or list; of a dict: key, value, key, ...
};

/// Runs one pickle from its first byte to STOP.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> pickle, std::string_view where)
      : pickle_(pickle), where_(where) {}

  /// Returns the value left on the stack. Errors: as unpickle_tensors.
  PickleId run();

  const PickleValue& value(PickleId id) const { return values_[id]; }
  /// A tensor without its name.
  const PickledTensor& tensor(const PickleValue& value) const {
    return tensors_[static_cast<size_t>(value.integer)];
  }

 private:
  using Kind = PickleValue::Kind;
  using Global = PickleValue::Global;

  // Each returns false for an opcode that is not its own.
  bool push_plain(uint8_t op);
  bool push_text(uint8_t op);
  bool use_memo(uint8_t op);
  bool use_stack(uint8_t op);
  bool build(uint8_t op);

  void push_global(std::string_view module, std::string_view name);
  void push_stack_global();
  void push_persistent();
  void push_long(size_t bytes);
  void push_tuple(size_t count);
  void reduce();
  void rebuild_tensor(const std::vector<PickleId>& arguments);
  void append(PickleId list, const std::vector<PickleId>& items);
  void set_items(PickleId dict, const std::vector<PickleId>& items);
  void set_state();
  std::vector<int64_t> sizes(PickleId tuple, std::string_view what) const;
  int64_t natural(PickleId id, std::string_view what) const;

  PickleId make(Kind kind);
  PickleId push(Kind kind);
  PickleId push_items(Kind kind, std::vector<PickleId> items);
  PickleId pop();
  PickleId top() const;
  std::vector<PickleId> pop_to_mark();
  void remember(uint64_t key);
  void recall(uint64_t key);

  template <class T>
  T read();
  std::string_view read_bytes(uint64_t count);
  std::string_view read_line();

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kDataLoss, "{}: byte {}: {}", where_, op_at_,
         fmt::format(format, std::forward<Args>(args)...));
  }

  std::span<const std::byte> pickle_;
  std::string_view where_;
  size_t at_ = 0;
  size_t op_at_ = 0;  // of the opcode that runs, for messages
  std::vector<PickleValue> values_;
  std::vector<PickledTensor> tensors_;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::unordered_map<uint64_t, PickleId> memo_;
};

}  // namespace tamis::io
