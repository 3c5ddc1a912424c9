#include "service/keys.h"

#include <utility>

namespace tamis::server {

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  // Over the length of what was sent, which is no secret.
  unsigned different = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    different |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(other);
  }
  return different == 0;
}

std::string_view key_of(const Headers& headers) {
  const std::string_view authorization = headers.get("authorization");
  constexpr std::string_view kBearer = "bearer ";
  if (authorization.size() > kBearer.size()) {
    bool bearer = true;
    for (size_t i = 0; i < kBearer.size(); ++i) {
      bearer = bearer && (authorization[i] | 0x20) == kBearer[i];
    }
    if (bearer) return authorization.substr(authorization.find_first_not_of(' ', kBearer.size()));
  }
  if (!authorization.empty()) return authorization;
  const std::string_view key = headers.get("x-api-key");
  return key.empty() ? headers.get("api-key") : key;
}

void Keys::set(std::vector<std::string> keys) {
  auto next = std::make_shared<const std::vector<std::string>>(std::move(keys));
  const std::lock_guard lock(mutex_);
  keys_ = std::move(next);
}

std::shared_ptr<const std::vector<std::string>> Keys::get() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

bool Keys::empty() const { return get()->empty(); }

bool Keys::has(std::string_view key) const {
  const auto keys = get();  // held, for a reload may replace them meanwhile
  bool found = false;
  for (const std::string& known : *keys) found |= equal_in_constant_time(key, known);
  return found;
}

}  // namespace tamis::server
