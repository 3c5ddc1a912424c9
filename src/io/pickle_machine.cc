#include "io/pickle_machine.h"

#include <cstring>
#include <utility>

#include "io/pickle_ops.h"

namespace tamis::io {

using namespace pickle_op;

namespace {
constexpr size_t kMaxMemo = size_t{1} << 20;
}  // namespace

template <class T>
T PickleMachine::read() {
  T value;
  std::memcpy(&value, read_bytes(sizeof value).data(), sizeof value);
  return value;
}

PickleId PickleMachine::run() {
  if (read<uint8_t>() != kProto) refuse("expected a pickle of protocol 2 to 5, got other bytes");
  if (const auto protocol = read<uint8_t>(); protocol < 2 || protocol > 5) {
    refuse("expected a pickle of protocol 2 to 5, got {}", protocol);
  }
  for (;;) {
    op_at_ = at_;
    const auto op = read<uint8_t>();
    if (op == kStop) break;
    if (!push_plain(op) && !push_text(op) && !use_memo(op) && !use_stack(op) && !build(op)) {
      refuse("opcode 0x{:02x} ({}) is not allowed in a file of weights", op, refused_name(op));
    }
  }
  if (stack_.size() != 1 || !marks_.empty()) {
    refuse("expected one value at the end of the pickle, got {}", stack_.size());
  }
  return stack_.back();
}

bool PickleMachine::push_plain(uint8_t op) {
  switch (op) {
    case kNone:
      push(Kind::kNone);
      return true;
    case kNewTrue:
      values_[push(Kind::kBool)].integer = 1;
      return true;
    case kNewFalse:
      push(Kind::kBool);
      return true;
    case kBinInt:
      values_[push(Kind::kInteger)].integer = read<int32_t>();
      return true;
    case kBinInt1:
      values_[push(Kind::kInteger)].integer = read<uint8_t>();
      return true;
    case kBinInt2:
      values_[push(Kind::kInteger)].integer = read<uint16_t>();
      return true;
    case kLong1:
      push_long(read<uint8_t>());
      return true;
    case kBinFloat:
      push(Kind::kFloat), read_bytes(8);
      return true;
    case kEmptyDict:
      push(Kind::kDict);
      return true;
    case kEmptyList:
      push(Kind::kList);
      return true;
    case kEmptyTuple:
      push(Kind::kTuple);
      return true;
    case kFrame: {  // a hint for readers of streams
      const auto bytes = read<uint64_t>();
      if (bytes > pickle_.size() - at_) refuse("truncated: the frame claims {} bytes", bytes);
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::push_text(uint8_t op) {
  const auto text = [&](Kind kind, uint64_t bytes) {
    const std::string_view read = read_bytes(bytes);
    values_[push(kind)].text = read;
    return true;
  };
  switch (op) {
    case kShortBinUnicode:
      return text(Kind::kString, read<uint8_t>());
    case kBinUnicode:
      return text(Kind::kString, read<uint32_t>());
    case kBinUnicode8:
      return text(Kind::kString, read<uint64_t>());
    case kShortBinBytes:
      return text(Kind::kBytes, read<uint8_t>());
    case kBinBytes:
      return text(Kind::kBytes, read<uint32_t>());
    case kBinBytes8:
      return text(Kind::kBytes, read<uint64_t>());
    case kGlobal: {
      const std::string_view module = read_line();
      push_global(module, read_line());
      return true;
    }
    case kStackGlobal:
      push_stack_global();
      return true;
    default:
      return false;
  }
}

bool PickleMachine::use_memo(uint8_t op) {
  switch (op) {
    case kBinPut:
      remember(read<uint8_t>());
      return true;
    case kLongBinPut:
      remember(read<uint32_t>());
      return true;
    case kMemoize:
      remember(memo_.size());
      return true;
    case kBinGet:
      recall(read<uint8_t>());
      return true;
    case kLongBinGet:
      recall(read<uint32_t>());
      return true;
    default:
      return false;
  }
}

bool PickleMachine::use_stack(uint8_t op) {
  switch (op) {
    case kMark: {
      if (marks_.size() == kMaxPickleValues) refuse("more than {} marks", marks_.size());
      marks_.push_back(stack_.size());
      return true;
    }
    case kPop:
      pop();
      return true;
    case kPopMark:
      pop_to_mark();
      return true;
    case kTuple:
      push_items(Kind::kTuple, pop_to_mark());
      return true;
    case kTuple1:
      push_tuple(1);
      return true;
    case kTuple2:
      push_tuple(2);
      return true;
    case kTuple3:
      push_tuple(3);
      return true;
    default:
      return false;
  }
}

bool PickleMachine::build(uint8_t op) {
  switch (op) {
    case kBinPersId:
      push_persistent();
      return true;
    case kReduce:
      reduce();
      return true;
    case kBuild:
      set_state();
      return true;
    case kAppend: {
      const PickleId item = pop();
      append(top(), {item});
      return true;
    }
    case kAppends: {
      const auto items = pop_to_mark();
      append(top(), items);
      return true;
    }
    case kSetItem: {
      const PickleId item = pop();
      const PickleId key = pop();
      set_items(top(), {key, item});
      return true;
    }
    case kSetItems: {
      const auto items = pop_to_mark();
      set_items(top(), items);
      return true;
    }
    default:
      return false;
  }
}

void PickleMachine::push_long(size_t bytes) {
  if (bytes > sizeof(int64_t)) refuse("expected an integer of at most 8 bytes, got {}", bytes);
  const std::string_view digits = read_bytes(bytes);
  // The last byte's highest bit is the sign.
  uint64_t bits = !digits.empty() && (digits.back() & 0x80) ? ~uint64_t{0} : 0;
  if (!digits.empty()) std::memcpy(&bits, digits.data(), digits.size());
  values_[push(Kind::kInteger)].integer = static_cast<int64_t>(bits);
}

void PickleMachine::push_tuple(size_t count) {
  std::vector<PickleId> items(count);
  for (size_t i = count; i-- > 0;) items[i] = pop();
  push_items(Kind::kTuple, std::move(items));
}

PickleId PickleMachine::make(Kind kind) {
  if (values_.size() == kMaxPickleValues) {
    refuse("expected at most {} values in a file of weights, got more", kMaxPickleValues);
  }
  values_.emplace_back().kind = kind;
  return static_cast<PickleId>(values_.size() - 1);
}

PickleId PickleMachine::push(Kind kind) {
  stack_.push_back(make(kind));
  return stack_.back();
}

PickleId PickleMachine::push_items(Kind kind, std::vector<PickleId> items) {
  const PickleId id = push(kind);
  values_[id].items = std::move(items);
  return id;
}

PickleId PickleMachine::pop() {
  const PickleId id = top();
  stack_.pop_back();
  return id;
}

PickleId PickleMachine::top() const {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) refuse("the stack is empty");
  return stack_.back();
}

std::vector<PickleId> PickleMachine::pop_to_mark() {
  if (marks_.empty()) refuse("expected a mark on the stack, got none");
  const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<PickleId> items(first, stack_.end());
  stack_.erase(first, stack_.end());
  marks_.pop_back();
  return items;
}

void PickleMachine::remember(uint64_t key) {
  const PickleId id = top();
  if (memo_.size() == kMaxMemo) refuse("more than {} memo entries", memo_.size());
  memo_[key] = id;
}

void PickleMachine::recall(uint64_t key) {
  const auto found = memo_.find(key);
  if (found == memo_.end()) refuse("memo entry {} was never stored", key);
  if (stack_.size() >= kMaxPickleValues) refuse("more than {} values on the stack", stack_.size());
  stack_.push_back(found->second);
}

std::string_view PickleMachine::read_bytes(uint64_t count) {
  if (count > pickle_.size() - at_) {
    refuse("truncated: expected {} bytes from byte {} on, got {}", count, at_,
           pickle_.size() - at_);
  }
  const std::string_view text(reinterpret_cast<const char*>(pickle_.data()) + at_, count);
  at_ += count;
  return text;
}

std::string_view PickleMachine::read_line() {
  const std::string_view rest(reinterpret_cast<const char*>(pickle_.data()) + at_,
                              pickle_.size() - at_);
  const size_t end = rest.find('\n');
  if (end == rest.npos) refuse("truncated: expected the end of a line");
  at_ += end + 1;
  return rest.substr(0, end);
}

}  // namespace tamis::io
