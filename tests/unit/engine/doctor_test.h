#pragma once

// What the tests of the doctor share.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "../base/fake_root.h"
#include "engine/doctor.h"
#include "tamis/doctor.h"

namespace tamis {

using doctor::Findings;

inline const Finding* find(const Findings& findings, const std::string& id) {
  const auto it =
      std::find_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.id == id; });
  return it == findings.end() ? nullptr : &*it;
}

// The finding with this id and severity, its texts in one; or what there is in its place.
inline std::string text(const Findings& findings, const std::string& id, Severity severity) {
  const Finding* finding = find(findings, id);
  if (finding == nullptr) {
    std::string out = "there is no " + id + " but:";
    for (const Finding& f : findings) out += " " + f.id;
    return out;
  }
  if (finding->severity != severity) {
    return id + " is " + std::string(name_of(finding->severity)) + ": " + finding->what;
  }
  if (severity > Severity::kInfo && finding->fix.empty()) return id + " has no fix";
  return finding->title + " | " + finding->what + " | " + finding->fix;
}

#define EXPECT_SAYS(findings, id, severity, words)                       \
  EXPECT_NE(text(findings, id, severity).find(words), std::string::npos) \
      << text(findings, id, severity)

inline constexpr const char* kNode = "/sys/devices/system/node/node";

// Eight cores in one node, nothing else running.
inline void eight_cores(const FakeRoot& root) {
  root.write("/proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n");
  root.write(std::string(kNode) + "0/cpulist", "0-7\n");
  root.write("/proc/loadavg", "0.10 0.20 0.30 1/100 4242\n");
}

inline DeviceSetOptions without_gpus(std::vector<std::string> sims = {}) {
  return {std::move(sims), "libtamis-no-such-library.so.1", "/"};
}

}  // namespace tamis
