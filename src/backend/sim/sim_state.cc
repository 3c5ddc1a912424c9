#include "backend/sim/sim_state.h"

#include <charconv>
#include <cmath>

#include "base/byte_size.h"
#include "base/fail.h"

namespace tamis {
namespace {

template <class T>
bool parse(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_at_least(std::string_view text, double least, double& out) {
  return parse(text, out) && std::isfinite(out) && out >= least;
}

bool parse_nth(std::string_view text, size_t& out) { return parse(text, out) && out >= 1; }

bool parse_switch(std::string_view text, bool& out) {
  out = text == "1";
  return out || text == "0";
}

bool parse_memory(std::string_view text, size_t& out) {
  try {
    out = parse_bytes(text);
  } catch (const Error&) {
    return false;
  }
  return out > 0;
}

using Value = std::string_view;

struct Key {
  std::string_view name;
  std::string_view expected;
  bool (*set)(Value value, SimOptions& options, SimFaults& faults);
};

constexpr Key kKeys[] = {
    {"memory", "a size such as 2GiB",
     [](Value v, SimOptions& o, SimFaults&) { return parse_memory(v, o.memory_bytes); }},
    {"gflops", "a number, 0 = instant",
     [](Value v, SimOptions& o, SimFaults&) { return parse_at_least(v, 0, o.gflops); }},
    {"launch_us", "a number",
     [](Value v, SimOptions& o, SimFaults&) { return parse_at_least(v, 0, o.launch_us); }},
    {"copy_gbps", "a number, 0 = instant",
     [](Value v, SimOptions& o, SimFaults&) { return parse_at_least(v, 0, o.copy_gbps); }},
    {"slow", "a number",
     [](Value v, SimOptions& o, SimFaults&) { return parse_at_least(v, 0, o.slow); }},
    {"seed", "a whole number", [](Value v, SimOptions& o, SimFaults&) { return parse(v, o.seed); }},
    {"order", "fifo or shuffled",
     [](Value v, SimOptions& o, SimFaults&) {
       o.shuffled = v == "shuffled";
       return o.shuffled || v == "fifo";
     }},
    {"name", "a text",
     [](Value v, SimOptions& o, SimFaults&) {
       o.name = v;
       return true;
     }},
    {"fail_alloc", "1 or more",
     [](Value v, SimOptions&, SimFaults& f) { return parse_nth(v, f.fail_alloc); }},
    {"fail_alloc_from", "0 (off), 1 or more",
     [](Value v, SimOptions&, SimFaults& f) { return parse(v, f.fail_alloc_from); }},
    {"fail_op", "1 or more",
     [](Value v, SimOptions&, SimFaults& f) { return parse_nth(v, f.fail_op); }},
    {"gone", "0 or 1", [](Value v, SimOptions&, SimFaults& f) { return parse_switch(v, f.gone); }},
    {"hang", "0 or 1", [](Value v, SimOptions&, SimFaults& f) { return parse_switch(v, f.hang); }},
    {"heal", "1",
     [](Value v, SimOptions&, SimFaults& f) {
       f = {};
       return v == "1";
     }},
};

std::string list_keys() {
  std::string out;
  for (const Key& key : kKeys) {
    out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", key.name, key.expected);
  }
  return out;
}

void set(std::string_view item, SimOptions& options, SimFaults& faults) {
  const size_t equals = item.find('=');
  const std::string_view name = item.substr(0, equals);
  for (const Key& key : kKeys) {
    if (key.name != name) continue;
    if (equals != std::string_view::npos && key.set(item.substr(equals + 1), options, faults)) {
      return;
    }
    fail(ErrorCode::kInvalidArgument, "simulated device: expected {}={}, got \"{}\"; keys: {}",
         name, key.expected, item, list_keys());
  }
  fail(ErrorCode::kInvalidArgument, "simulated device: no key \"{}\"; keys: {}", name, list_keys());
}

std::chrono::nanoseconds duration(const SimOptions& options, double amount, double billions) {
  const double work = billions > 0 ? amount / billions : 0;
  return std::chrono::nanoseconds(std::llround((work + options.launch_us * 1000) * options.slow));
}

}  // namespace

std::string SimOptions::description() const {
  std::string out = name.empty() ? "" : name + ", ";
  out += "simulated accelerator, " + format_bytes(memory_bytes);
  if (gflops > 0) out += fmt::format(", {} GFLOP/s", gflops);
  return out;
}

void SimState::apply(std::string_view description) {
  const std::lock_guard lock(mutex_);
  SimOptions options = options_;
  SimFaults faults = faults_;
  while (!description.empty()) {
    const size_t comma = description.find(',');
    set(description.substr(0, comma), options, faults);
    description.remove_prefix(comma == std::string_view::npos ? description.size() : comma + 1);
  }
  options_ = options;
  faults_ = faults;
}

SimOptions SimState::options() const {
  const std::lock_guard lock(mutex_);
  return options_;
}

void SimState::require_alive(std::string_view device) const {
  const std::lock_guard lock(mutex_);
  if (faults_.gone) fail(ErrorCode::kUnavailable, "{}: the device is gone", device);
  if (faults_.broken) {
    fail(ErrorCode::kUnavailable, "{}: the device has failed and has not recovered", device);
  }
}

bool SimState::hangs() const {
  const std::lock_guard lock(mutex_);
  return faults_.hang;
}

bool SimState::next_alloc_fails() {
  const std::lock_guard lock(mutex_);
  const bool once = faults_.fail_alloc == 1;
  if (faults_.fail_alloc > 0) --faults_.fail_alloc;
  const bool from_now_on = faults_.fail_alloc_from == 1;
  if (faults_.fail_alloc_from > 1) --faults_.fail_alloc_from;
  return once || from_now_on;
}

bool SimState::next_op_fails() {
  const std::lock_guard lock(mutex_);
  if (faults_.fail_op == 0 || --faults_.fail_op > 0) return false;
  faults_.broken = true;
  return true;
}

std::chrono::nanoseconds SimState::time_of_op(double flops) const {
  const std::lock_guard lock(mutex_);
  return duration(options_, flops, options_.gflops);
}

std::chrono::nanoseconds SimState::time_of_copy(double bytes) const {
  const std::lock_guard lock(mutex_);
  return duration(options_, bytes, options_.copy_gbps);
}

}  // namespace tamis
