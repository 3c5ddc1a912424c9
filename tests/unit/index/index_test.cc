// An index on disk: what search finds is what comparing every vector finds, and files that do not
// fit together are refused.

#include "tamis/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "tamis/error.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

fs::path fixture(const std::string& name) {
  return fs::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models" / name;
}

std::vector<Passage> passages(size_t count) {
  const std::vector<std::string> words = {"cat", "drum",      "sieve", "sky",
                                          "mat", "horsehair", "fine"};
  std::vector<Passage> out;
  size_t state = 11;
  for (size_t i = 0; i < count; ++i) {
    std::string text;
    for (size_t n = 0; n < 2 + i % 9; ++n) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text += words[(state >> 33) % words.size()] + " ";
    }
    out.push_back({"p" + std::to_string(i), text + std::to_string(i)});
  }
  return out;
}

class Index : public testing::Test {
 protected:
  Index() : embedder_(Embedder::load(fixture("xlmr-m3"))), passages_(passages(300)) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = fs::path(testing::TempDir()) / (std::string("index-") + test->name());
    fs::remove_all(directory_);
  }
  ~Index() override { fs::remove_all(directory_); }

  PassageIndex build(bool dense, bool sparse, bool half = false) {
    IndexOptions options;
    options.dense = dense;
    options.sparse = sparse;
    options.half = half;
    options.embed.max_length = 64;
    IndexWriter writer(directory_, embedder_, options);
    const auto all = std::span<const Passage>(passages_);
    writer.add(all.first(100));
    writer.add(all.subspan(100));
    writer.finish();
    return PassageIndex::open(directory_, 2);
  }

  Embeddings embed(const std::string& text) {
    EmbedOptions options;
    options.sparse = true;
    options.max_length = 64;
    const std::string_view view = text;
    return embedder_.embed({&view, 1}, options);
  }

  std::string error_of(const std::function<void()>& action, ErrorCode code) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "not refused";
    return {};
  }

  Embedder embedder_;
  std::vector<Passage> passages_;
  fs::path directory_;
};

/// Places and scores of all passages, best first.
std::vector<Hit> all_scores(size_t count, const std::function<double(size_t)>& score) {
  std::vector<Hit> out;
  for (size_t i = 0; i < count; ++i) out.push_back({i, static_cast<float>(score(i))});
  std::stable_sort(out.begin(), out.end(),
                   [](const Hit& a, const Hit& b) { return a.score > b.score; });
  return out;
}

void expect_hits(const std::vector<Hit>& got, const std::vector<Hit>& want, size_t k,
                 double tolerance) {
  ASSERT_EQ(got.size(), std::min(k, want.size()));
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i].score, want[i].score, tolerance) << "rank " << i;
    if (i > 0) {
      EXPECT_TRUE(got[i - 1].score > got[i].score ||
                  (got[i - 1].score == got[i].score && got[i - 1].place < got[i].place));
    }
  }
}

TEST_F(Index, DenseSearchIsThatOfEveryVector) {
  for (const bool half : {false, true}) {
    fs::remove_all(directory_);
    const PassageIndex index = build(true, false, half);
    EXPECT_EQ(index.size(), 300u);
    EXPECT_EQ(index.dimension(), 32u);
    EXPECT_TRUE(index.normalized());
    EXPECT_FALSE(index.has_sparse());
    const Embeddings query = embed("the drum sieve");
    const auto want = all_scores(
        300, [&](size_t i) { return dot_product(query.row(0), embed(passages_[i].text).row(0)); });
    for (const size_t k : {1u, 7u, 300u, 1000u}) {
      expect_hits(index.search(query.row(0), k), want, k, half ? 2e-3 : 1e-5);
    }
    EXPECT_TRUE(index.search(query.row(0), 0).empty());
  }
}

TEST_F(Index, SparseSearchIsThatOfEveryVector) {
  const PassageIndex index = build(false, true);
  EXPECT_EQ(index.dimension(), 0u);
  const SparseVector query = embed("the drum sieve").sparse[0];
  auto want = all_scores(
      300, [&](size_t i) { return lexical_score(query, embed(passages_[i].text).sparse[0]); });
  std::erase_if(want, [](const Hit& hit) { return hit.score <= 0; });
  EXPECT_FALSE(want.empty());
  expect_hits(index.search(query, 20), want, 20, 1e-4);
  EXPECT_TRUE(index.search(SparseVector{{99999999, -1}, {1, 1}}, 5).empty());
}

TEST_F(Index, HybridAddsTheTwo) {
  const PassageIndex index = build(true, true);
  const Embeddings query = embed("the drum sieve");
  const auto want = all_scores(300, [&](size_t i) {
    const Embeddings p = embed(passages_[i].text);
    return 0.7 * dot_product(query.row(0), p.row(0)) +
           0.3 * lexical_score(query.sparse[0], p.sparse[0]);
  });
  expect_hits(index.search(query.row(0), query.sparse[0], 0.7, 0.3, 25), want, 25, 1e-4);
}

TEST_F(Index, PassagesComeBackAsTheyWere) {
  passages_[5] = {"an id with \"quotes\"", "ünïcode\n\ttext \xF0\x9F\x90\xBC"};
  const PassageIndex index = build(true, false);
  for (size_t i : {0u, 5u, 299u}) {
    EXPECT_EQ(index.passage(i).id, passages_[i].id);
    EXPECT_EQ(index.passage(i).text, passages_[i].text);
  }
  error_of([&] { index.passage(300); }, ErrorCode::kInvalidArgument);
  EXPECT_EQ(fs::path(index.model()), fs::absolute(fixture("xlmr-m3")));
}

TEST_F(Index, WhatCannotBeMeantIsRefused) {
  const PassageIndex index = build(true, false);
  const std::vector<float> narrow(31);
  EXPECT_NE(error_of([&] { index.search(narrow, 3); }, ErrorCode::kInvalidArgument).find("32"),
            std::string::npos);
  error_of([&] { index.search(SparseVector{{1}, {1}}, 3); }, ErrorCode::kInvalidArgument);
  IndexOptions none;
  none.dense = false;
  error_of([&] { IndexWriter(directory_ / "new", embedder_, none); }, ErrorCode::kInvalidArgument);
  error_of([&] { IndexWriter(directory_, embedder_, {}); }, ErrorCode::kInvalidArgument);
  error_of([&] { PassageIndex::open(directory_ / "away"); }, ErrorCode::kNotFound);
}

TEST_F(Index, AnIndexThatWasNotFinishedIsNone) {
  {
    IndexWriter writer(directory_, embedder_, {});
    writer.add(std::span<const Passage>(passages_).first(3));
  }
  error_of([&] { PassageIndex::open(directory_); }, ErrorCode::kNotFound);
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(Index, DamageIsRefusedWithTheFile) {
  build(true, true);
  const auto damaged = [&](const char* name, const std::function<void(std::string&)>& change) {
    const fs::path file = directory_ / name;
    std::string bytes;
    {
      std::ifstream in(file, std::ios::binary);
      bytes.assign(std::istreambuf_iterator<char>(in), {});
    }
    std::string changed = bytes;
    change(changed);
    std::ofstream(file, std::ios::binary).write(changed.data(), static_cast<long>(changed.size()));
    const std::string message =
        error_of([&] { PassageIndex::open(directory_); }, ErrorCode::kDataLoss);
    EXPECT_NE(message.find(directory_.string()), std::string::npos) << message;
    std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<long>(bytes.size()));
  };
  damaged("dense.npy", [](std::string& s) { s.pop_back(); });
  damaged("dense.npy", [](std::string& s) { s[30] = '!'; });
  damaged("passages.jsonl", [](std::string& s) { s.pop_back(); });
  damaged("passages.offsets", [](std::string& s) { s[8] = '\xff', s[15] = '\x7f'; });
  damaged("sparse.offsets", [](std::string& s) { s[0] = 1; });
  damaged("sparse.weights", [](std::string& s) { s.resize(s.size() / 2); });
  damaged("index.json", [](std::string& s) { s.resize(s.size() / 2); });
  PassageIndex::open(directory_);  // each was put back
}

TEST_F(Index, APostingOutsideTheIndexIsRefusedWhenItIsMet) {
  build(false, true);
  const fs::path file = directory_ / "sparse.passages";
  std::fstream out(file, std::ios::binary | std::ios::in | std::ios::out);
  for (uintmax_t i = 0; i < fs::file_size(file); ++i) out.put('\xff');
  out.close();
  const PassageIndex index = PassageIndex::open(directory_);
  error_of([&] { index.search(embed("the drum sieve").sparse[0], 3); }, ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace tamis
