#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "transport/http.h"

namespace tamis::server {

/// The same length of time for any two texts of these lengths.
bool equal_in_constant_time(std::string_view a, std::string_view b);

/// The key of a request: `Authorization: Bearer KEY` (or the bare value, as some clients send it),
/// `x-api-key` or `api-key`. Empty if there is none.
std::string_view key_of(const Headers& headers);

/// Keys that may be replaced while requests are checked. Thread rule: any thread.
class Keys {
 public:
  void set(std::vector<std::string> keys);
  bool empty() const;
  /// Compares with every key, so that the time says nothing about which one was near.
  bool has(std::string_view key) const;

 private:
  std::shared_ptr<const std::vector<std::string>> get() const;
  mutable std::mutex mutex_;
  std::shared_ptr<const std::vector<std::string>> keys_ =
      std::make_shared<const std::vector<std::string>>();
};

}  // namespace tamis::server
