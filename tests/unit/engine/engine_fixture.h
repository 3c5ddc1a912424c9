#pragma once

// A small cross-encoder, texts of many lengths for it, and devices to put it on.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "on_devices.h"
#include "tamis/device.h"
#include "tamis/error.h"
#include "tamis/place.h"
#include "tamis/reranker.h"

namespace tamis {

inline std::filesystem::path small_model(const std::string& name = "xlmr-ce") {
  return std::filesystem::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models" / name;
}

/// A query and passages of 1 to 60 words, the same on every run; from twenty on kSmaller says how
/// many of them.
struct Work {
  explicit Work(size_t wanted) {
    const size_t count = wanted < 20 ? wanted : std::max<size_t>(8, wanted / kSmaller);
    const std::vector<std::string> words = {"a", "drum", "sieve", "of", "fine", "horsehair", "sky"};
    size_t state = 7;
    for (size_t i = 0; i < count; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::string text;
      for (size_t n = 1 + (state >> 40) % 60; n > 0; --n) text += words[(state >> n) % 7] + " ";
      texts.push_back(text);
    }
    passages.assign(texts.begin(), texts.end());
  }
  std::vector<std::string> texts;
  std::vector<std::string_view> passages;
};

/// Logits by index of the passage.
inline std::vector<float> logits(const Reranker& reranker, const Work& work,
                                 const RerankOptions& options = {}) {
  std::vector<float> out(work.passages.size());
  for (const RerankResult& r : reranker.rerank("what is a tamis", work.passages, options)) {
    out[r.index] = r.logit;
  }
  return out;
}

inline void expect_same(const std::vector<float>& got, const std::vector<float>& want,
                        double tolerance = 1e-5) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_TRUE(std::abs(static_cast<double>(got[i]) - want[i]) <= tolerance)
        << "passage " << i << ": got " << got[i] << ", want " << want[i];
  }
}

template <class Action>
std::string error_of(const Action& action, ErrorCode code) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(info(error.code()).name, info(code).name) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return {};
}

inline void expect_parts(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in: " << text;
  }
}

}  // namespace tamis
