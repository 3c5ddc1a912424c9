// Many calls at one queue: batches that they share, whose turn it is, and what ends a call early.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <limits>
#include <mutex>
#include <thread>

#include "engine/scheduler.h"
#include "engine_fixture.h"
#include "tamis/embedder.h"
#include "tamis/tokenizer.h"

namespace tamis {
namespace {

/// Holds the replica in its first batch until `open`, and writes down those that follow.
class Gate {
 public:
  std::function<void(const BatchReport&)> watch() {
    return [this](const BatchReport& report) {
      std::unique_lock lock(mutex_);
      batches_.push_back({report.calls, report.sequences, report.tokens});
      changed_.notify_all();
      changed_.wait(lock, [&] { return open_; });
    };
  }
  void wait_for_first() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !batches_.empty(); });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  struct Batch {
    size_t calls, sequences, tokens;
  };
  std::vector<Batch> batches() const {
    const std::lock_guard lock(mutex_);
    return batches_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  std::vector<Batch> batches_;
};

/// A model whose one replica is held, so that the calls that follow wait side by side.
struct Held {
  explicit Held(const std::filesystem::path& model = small_model(), size_t batch_tokens = 0) {
    LoadOptions options = on("cpu");
    options.threads = 1;
    options.batch_tokens = batch_tokens;
    options.on_batch = gate.watch();
    reranker.emplace(Reranker::load(model, options));
    first = std::thread([this] { logits(*reranker, Work(1)); });
    gate.wait_for_first();
  }
  ~Held() {
    gate.open();
    first.join();
  }
  void wait_for_calls(size_t count) const {
    while (reranker->place().load().calls < count) std::this_thread::yield();
  }

  Gate gate;
  std::optional<Reranker> reranker;
  std::thread first;
};

/// Runs calls in threads of their own, and waits until each stands in the queue.
class Calls {
 public:
  explicit Calls(const Held& held) : held_(held), before_(1) {}
  ~Calls() { join(); }
  template <class Call>
  void add(const Call& call) {
    threads_.emplace_back(call);
    held_.wait_for_calls(before_ + threads_.size());
  }
  void join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  const Held& held_;
  size_t before_;
  std::vector<std::thread> threads_;
};

TEST(SharedBatches, CallsThatWaitTogetherShareABatchAndEachGetsItsOwnScores) {
  const Reranker alone = Reranker::load(small_model());
  Held held;
  std::vector<std::vector<float>> got(3);
  Calls calls(held);
  for (size_t i = 0; i < 3; ++i) {
    calls.add([&, i] { got[i] = logits(*held.reranker, Work(2 + i)); });
  }
  held.gate.open();
  calls.join();
  const auto batches = held.gate.batches();
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[1].calls, 3u);
  EXPECT_EQ(batches[1].sequences, 2u + 3u + 4u);
  for (size_t i = 0; i < 3; ++i) expect_same(got[i], logits(alone, Work(2 + i)));
}

TEST(SharedBatches, ABatchIsFilledOnlyAsFarAsItGainsSpeed) {
  Held held;
  Calls calls(held);
  for (int i = 0; i < 8; ++i) calls.add([&] { logits(*held.reranker, Work(8)); });
  held.gate.open();
  calls.join();
  const auto batches = held.gate.batches();
  ASSERT_GT(batches.size(), 2u);
  for (size_t i = 1; i < batches.size(); ++i) EXPECT_LE(batches[i].tokens, 512u) << "batch " << i;
}

// A Work(400) is some 15 batches of 1,024 tokens.
TEST(SharedBatches, WhileShortCallsComeTheBatchesOfALongOneAreNoLargerThanSpeedNeeds) {
  Held held;  // its first call is a short one
  Calls calls(held);
  calls.add([&] { logits(*held.reranker, Work(400)); });
  held.gate.open();
  calls.join();
  const auto batches = held.gate.batches();
  ASSERT_GT(batches.size(), 4u);
  for (size_t i = 1; i < 4; ++i) EXPECT_LE(batches[i].tokens, 512u) << "batch " << i;
}

TEST(SharedBatches, ALongCallByItselfHasBatchesAsLargeAsTheyMayBe) {
  Gate gate;
  gate.open();
  LoadOptions options = on("cpu");
  options.on_batch = gate.watch();
  logits(Reranker::load(small_model(), options), Work(400));
  EXPECT_GT(gate.batches().front().tokens, 512u);
}

TEST(SharedBatches, AShortCallIsFilledUpByALongOneOnlyAsFarAsItWouldBeSlow) {
  Held held;
  Calls calls(held);
  calls.add([&] { logits(*held.reranker, Work(400)); });
  calls.add([&] { logits(*held.reranker, Work(1)); });
  held.gate.open();
  calls.join();
  const auto batches = held.gate.batches();
  ASSERT_GT(batches.size(), 2u);
  EXPECT_LE(batches[1].tokens, 128u) << "the short call goes first, with at most so much beside it";
}

TEST(SharedBatches, AnErrorOfOneCallIsNotTheOthers) {
  // A word whose row of the table is NaN, which is found when the word is used.
  const std::filesystem::path model =
      std::filesystem::path(testing::TempDir()) / "tamis_shared_nan";
  std::filesystem::remove_all(model);
  std::filesystem::copy(small_model(), model, std::filesystem::copy_options::recursive);
  const Tokenizer tokenizer = Tokenizer::load(model);
  const std::vector<int32_t> sky = tokenizer.encode("sky").ids;
  {
    std::fstream file(model / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    uint64_t header_bytes = 0;
    file.read(reinterpret_cast<char*>(&header_bytes), 8);
    std::string header(header_bytes, '\0');
    file.read(header.data(), static_cast<std::streamsize>(header_bytes));
    const size_t table = header.find("word_embeddings.weight");
    ASSERT_NE(table, std::string::npos);
    const size_t from = header.find('[', header.find("data_offsets", table)) + 1;
    const auto hidden = static_cast<size_t>(Reranker::load(model).info().hidden_size);
    const size_t row = static_cast<size_t>(sky.at(sky.size() - 2)) * hidden * sizeof(float);
    file.seekp(
        static_cast<std::streamoff>(8 + header_bytes + std::stoull(header.substr(from)) + row));
    const std::vector<float> nan(hidden, std::numeric_limits<float>::quiet_NaN());
    file.write(reinterpret_cast<const char*>(nan.data()),
               static_cast<std::streamsize>(hidden * sizeof(float)));
  }
  std::vector<float> got;
  std::string message;
  {
    Held held(model);
    Calls calls(held);
    const std::vector<std::string_view> good = {"a drum", "of fine horsehair"}, bad = {"the sky"};
    calls.add([&] {
      for (const auto& r : held.reranker->rerank("a", good)) got.push_back(r.logit);
    });
    calls.add([&] {
      message = error_of([&] { held.reranker->rerank("a", bad); }, ErrorCode::kDataLoss);
    });
    held.gate.open();
    calls.join();
    ASSERT_GE(held.gate.batches().size(), 2u);
  }
  std::filesystem::remove_all(model);
  EXPECT_EQ(got.size(), 2u) << "the good call failed with the bad one";
  expect_parts(message, {"token id", "nan"});
}

TEST(SharedBatches, CallsThatWantOtherOutputsDoNotShare) {
  Gate gate;
  LoadOptions options = on("cpu");
  options.threads = 1;
  options.on_batch = gate.watch();
  const Embedder embedder = Embedder::load(small_model("xlmr-m3"), options);
  const std::vector<std::string_view> texts = {"a drum sieve"};
  std::thread first([&] { embedder.embed(texts); });
  gate.wait_for_first();
  EmbedOptions sparse;
  sparse.sparse = true;
  std::thread dense_call([&] { embedder.embed(texts); });
  std::thread sparse_call([&] { EXPECT_EQ(embedder.embed(texts, sparse).sparse.size(), 1u); });
  while (embedder.place().load().calls < 3) std::this_thread::yield();
  gate.open();
  for (std::thread* t : {&first, &dense_call, &sparse_call}) t->join();
  const auto batches = gate.batches();
  ASSERT_EQ(batches.size(), 3u);
  for (const auto& batch : batches) EXPECT_EQ(batch.calls, 1u);
}

std::string long_text() {
  std::string out;
  for (int i = 0; i < 120; ++i) out += i % 7 == 0 ? "drum sieve " : "of fine horsehair ";
  return out;
}

/// Passages of which each is longer than a batch of Turns, so that it is alone in one and is known
/// by that.
constexpr size_t kTurnTokens = 48;

void rerank_long(const Held& held, size_t passages) {
  const std::string text = long_text();
  held.reranker->rerank("what is a tamis", std::vector<std::string_view>(passages, text));
}

void rerank_short(const Held& held, size_t passages, int priority = 0) {
  RerankOptions options;
  options.call.priority = priority;
  const std::vector<std::string_view> texts(passages, "a drum sieve");
  held.reranker->rerank("what", texts, options);
}

/// Whether each batch behind the first was one of rerank_long's.
std::vector<bool> turns_of_long(const Held& held) {
  std::vector<bool> out;
  for (const Gate::Batch& batch : held.gate.batches()) out.push_back(batch.tokens > kTurnTokens);
  out.erase(out.begin());
  return out;
}

TEST(Turns, AHigherPriorityGoesFirst) {
  Held held(small_model(), kTurnTokens);
  Calls calls(held);
  calls.add([&] { rerank_long(held, 5); });
  calls.add([&] { rerank_short(held, 40, 1); });
  held.gate.open();
  calls.join();
  const std::vector<bool> turns = turns_of_long(held);
  ASSERT_GT(turns.size(), 5u);
  EXPECT_TRUE(std::is_sorted(turns.begin(), turns.end())) << "a batch of the lower one came before";
}

TEST(Turns, TheCallWithTheFewestTokensLeftGoesFirstButNoneStarves) {
  Held held(small_model(), kTurnTokens);
  Calls calls(held);
  calls.add([&] { rerank_long(held, 20); });
  for (int i = 0; i < 12; ++i) calls.add([&] { rerank_short(held, 6); });
  held.gate.open();
  calls.join();
  const std::vector<bool> turns = turns_of_long(held);
  EXPECT_FALSE(turns.front());
  EXPECT_TRUE(turns.back()) << "the long call ended before the short ones";
  const auto first = std::find(turns.begin(), turns.end(), true) - turns.begin();
  EXPECT_LE(first, Scheduler::kPatience) << "the long call was passed over for too long";
}

TEST(EndedEarly, ACallThatIsStoppedGivesUpItsPlace) {
  Held held;
  std::stop_source stop;
  std::string message;
  Calls calls(held);
  calls.add([&] {
    RerankOptions options;
    options.call.stop = stop.get_token();
    message = error_of([&] { logits(*held.reranker, Work(9), options); }, ErrorCode::kCancelled);
  });
  stop.request_stop();
  calls.join();  // while the replica is still held: the call does not wait for its turn
  expect_parts(message, {"stopped", "0 of 9"});
  held.gate.open();
  logits(*held.reranker, Work(2));
  EXPECT_EQ(held.gate.batches().size(), 2u) << "work of the stopped call was run";
}

TEST(EndedEarly, ACallWhoseDeadlineIsOverEndsWithoutWork) {
  Held held;
  RerankOptions options;
  options.call.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  expect_parts(error_of([&] { logits(*held.reranker, Work(9), options); }, ErrorCode::kCancelled),
               {"deadline", "0 of 9"});
  held.gate.open();
}

TEST(EndedEarly, AStopBeforeTheCallRunsNothing) {
  std::stop_source stop;
  stop.request_stop();
  RerankOptions options;
  options.call.stop = stop.get_token();
  const Reranker reranker = Reranker::load(small_model());
  error_of([&] { logits(reranker, Work(3), options); }, ErrorCode::kCancelled);
  expect_same(logits(reranker, Work(3)), logits(reranker, Work(3)), 0);
}

TEST(EndedEarly, ADeadlineThatWasOverBeforeTheCallRunsNothing) {
  const Reranker reranker = Reranker::load(small_model());
  for (int i = 0; i < 200; ++i) {  // a free worker is at times faster than a wait that is over
    RerankOptions options;
    options.call.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(5);
    expect_parts(error_of([&] { logits(reranker, Work(1), options); }, ErrorCode::kCancelled),
                 {"deadline", "0 of 1"});
  }
}

TEST(EndedEarly, ADeadlineThatIsFarAwayChangesNothing) {
  const Reranker reranker = Reranker::load(small_model());
  RerankOptions options;
  options.call.deadline = std::chrono::steady_clock::now() + std::chrono::hours(1);
  expect_same(logits(reranker, Work(20), options), logits(reranker, Work(20)), 0);
}

TEST(LongPassages, ChunksAreScoredAndTheBestOneCounts) {
  for (const char* model : {"xlmr-ce", "xlmr-bi-mean"}) {
    const Reranker reranker = Reranker::load(small_model(model));
    const std::string text = long_text();
    const std::vector<std::string_view> passages = {"short", text};
    RerankOptions options;
    options.max_length = 40;
    const auto cut = reranker.rerank("what is a tamis", passages, options);
    options.long_passages = LongText::kChunk;
    const auto chunked = reranker.rerank("what is a tamis", passages, options);
    for (size_t i = 0; i < 2; ++i) {
      const auto& whole = chunked[0].index == i ? chunked[0] : chunked[1];
      const auto& first = cut[0].index == i ? cut[0] : cut[1];
      EXPECT_FALSE(whole.truncated);
      EXPECT_EQ(first.truncated, i == 1);
      EXPECT_GE(whole.logit, first.logit - 1e-5) << "the first chunk is what truncation leaves";
      EXPECT_EQ(whole.chunks > 1, i == 1);
      EXPECT_GE(whole.tokens, first.tokens);
    }
  }
}

TEST(LongPassages, MayBeRefused) {
  const std::string text = long_text();
  RerankOptions options;
  options.max_length = 40;
  options.long_passages = LongText::kRefuse;
  const Reranker reranker = Reranker::load(small_model());
  const std::vector<std::string_view> passages = {"short", text};
  expect_parts(
      error_of([&] { reranker.rerank("q", passages, options); }, ErrorCode::kInvalidArgument),
      {"passage 1", "tokens", "max_length is 40"});
  EmbedOptions embed;
  embed.max_length = 40;
  embed.long_texts = LongText::kRefuse;
  const Embedder embedder = Embedder::load(small_model("xlmr-bi-mean"));
  expect_parts(error_of([&] { embedder.embed(passages, embed); }, ErrorCode::kInvalidArgument),
               {"tokens", "max_length is 40"});
}

TEST(OneLoadedModel, IsEmbedderRerankerAndTokenizerAtOnce) {
  const auto options = on("sim:0", {"memory=1GiB"});
  const Embedder embedder = Embedder::load(small_model("xlmr-bi-cls-norm"), options);
  const size_t bytes = options.devices->status("sim:0").used_bytes;
  const Reranker shared = Reranker::of(embedder);
  EXPECT_EQ(options.devices->status("sim:0").used_bytes, bytes) << "the weights are there twice";
  expect_same(logits(shared, Work(5)),
              logits(Reranker::load(small_model("xlmr-bi-cls-norm")), Work(5)));
  EXPECT_EQ(embedder.tokenizer().encode("a drum").ids,
            Tokenizer::load(small_model("xlmr-bi-cls-norm")).encode("a drum").ids);
}

TEST(TokenIds, GiveTheVectorsOfTheirText) {
  const Embedder embedder = Embedder::load(small_model("xlmr-bi-cls-norm"));
  const std::vector<std::string_view> texts = {"a drum sieve", "sky"};
  std::vector<std::vector<int32_t>> ids;
  for (std::string_view text : texts) ids.push_back(embedder.tokenizer().encode(text).ids);
  expect_same(embedder.embed_ids(ids).values, embedder.embed(texts).values, 0);
}

TEST(TokenIds, ThatAreNotTheModelsAreRefused) {
  const Embedder embedder = Embedder::load(small_model("xlmr-bi-cls-norm"));
  const auto refused = [&](std::vector<int32_t> ids) {
    return error_of([&] { embedder.embed_ids({{std::move(ids)}}); }, ErrorCode::kInvalidArgument);
  };
  expect_parts(refused({0, 100000000, 2}), {"text 0", "100000000"});
  expect_parts(refused({-1}), {"-1"});
  expect_parts(refused({}), {"no token ids"});
  expect_parts(refused(std::vector<int32_t>(5000, 5)), {"5000", "max_length"});
}

}  // namespace
}  // namespace tamis
