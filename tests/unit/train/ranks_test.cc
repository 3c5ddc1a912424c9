// Several devices and processes in one run: how they meet, that two with half a batch are one with
// the whole, and what they say when one is gone.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>
#include <thread>

#include "base/fail.h"
#include "train_bench.h"

namespace tamis::training {
namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string text(const std::vector<std::byte>& data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

TrainRanks rank_of(int rank, int size, int port, double timeout_s = 60) {
  return {rank, size, "127.0.0.1", port, timeout_s};
}

/// f on `size` ranks that meet over TCP; the error's text of each.
std::vector<std::string> run_on_tcp(int size, const std::function<void(Collective&)>& f,
                                    double timeout_s = 60) {
  const int port = free_port();
  std::vector<std::string> errors(static_cast<size_t>(size));
  {
    std::vector<std::jthread> threads;
    for (int r = 0; r < size; ++r) {
      threads.emplace_back([&, r] {
        try {
          f(*connect_ranks(rank_of(r, size, port, timeout_s)));
        } catch (const std::exception& error) {
          errors[static_cast<size_t>(r)] = error.what();
        }
      });
    }
  }
  return errors;
}

/// What every collective must do.
void exchange(Collective& c) {
  for (int turn = 0; turn < 20; ++turn) {
    const std::string mine(static_cast<size_t>(c.rank() * turn), static_cast<char>('a' + c.rank()));
    const auto all = c.gather(bytes(mine));
    ASSERT_EQ(all.size(), static_cast<size_t>(c.size()));
    for (int r = 0; r < c.size(); ++r) {
      EXPECT_EQ(text(all[static_cast<size_t>(r)]),
                std::string(static_cast<size_t>(r * turn), static_cast<char>('a' + r)));
    }
    // 1e8 + 1 - 1e8 depends on the order: all ranks add in theirs.
    std::vector<float> x(1000, c.rank() == 0 ? 1e8f : c.rank() == 1 ? 1.0f : -1e8f);
    std::iota(x.begin() + 1, x.end(), static_cast<float>(c.rank()));
    c.sum(x);
    EXPECT_EQ(x[0], c.size() == 3 ? 1e8f + 1.0f - 1e8f : 1e8f + 1.0f);
    EXPECT_EQ(x[10], static_cast<float>(9 * c.size() + (c.size() == 3 ? 3 : 1)));
  }
}

TEST(Ranks, OnThreadsGiveAndAdd) {
  for (const int size : {2, 3}) run_on_threads(size, [](const auto& c) { exchange(*c); });
}

TEST(Ranks, OverTcpGiveAndAdd) {
  for (const int size : {2, 3}) {
    for (const std::string& error : run_on_tcp(size, exchange)) EXPECT_EQ(error, "");
  }
}

TEST(Ranks, AnErrorOnOneThreadEndsAllAndIsTheOneThatIsTold) {
  std::atomic<int> ended = 0;
  const std::string error = error_of(
      [&] {
        run_on_threads(3, [&](const auto& collective) {
          Collective& c = *collective;
          try {
            c.gather({});
            if (c.rank() == 1) fail(ErrorCode::kDataLoss, "line 7 is no JSON");
            c.gather({});
          } catch (...) {
            ++ended;
            throw;
          }
        });
      },
      ErrorCode::kDataLoss);
  EXPECT_EQ(error, "line 7 is no JSON");
  EXPECT_EQ(ended, 3);
}

TEST(Ranks, AProcessThatEndsEndsTheOthersAtOnce) {
  const auto start = std::chrono::steady_clock::now();
  const auto errors = run_on_tcp(3, [&](Collective& c) {
    c.gather({});
    if (c.rank() == 1) return;  // its connection goes
    std::vector<float> x(10);
    c.sum(x);
  });
  // Whether a closed connection is seen as its end or as a reset is a matter of what was under way.
  EXPECT_EQ(errors[0].find("rank 1: "), 0u) << errors[0];
  EXPECT_EQ(errors[2].find("rank 0: "), 0u) << errors[2];
  EXPECT_EQ(errors[1], "");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST(Ranks, ThatDoNotMakeTheSameCallAreTold) {
  const auto f = [](Collective& c) {
    std::vector<float> x(4);
    c.rank() == 0 ? c.sum(x) : static_cast<void>(c.gather(std::as_bytes(std::span(x))));
  };
  EXPECT_NE(
      error_of([&] { run_on_threads(2, [&](const auto& c) { f(*c); }); }, ErrorCode::kInternal)
          .find("do not make the same call"),
      std::string::npos);
  EXPECT_NE(run_on_tcp(2, f)[0].find("expected call 2 of a run, got call 1"), std::string::npos);
}

TEST(Ranks, AProcessThatIsLateIsNotWaitedForForEver) {
  const auto errors = run_on_tcp(
      2,
      [](Collective& c) {
        if (c.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
        c.gather({});
      },
      0.5);
  EXPECT_EQ(errors[0], "rank 1: no answer within the timeout");
  EXPECT_EQ(
      error_of([] { connect_ranks(rank_of(0, 2, free_port(), 0.3)); }, ErrorCode::kUnavailable)
          .substr(0, 33),
      "1 of the 2 ranks did not come to ");
  EXPECT_NE(
      error_of([] { connect_ranks(rank_of(1, 2, free_port(), 0.3)); }, ErrorCode::kUnavailable)
          .find("rank 1 finds no rank 0 at 127.0.0.1:"),
      std::string::npos);
}

TEST(Ranks, WhoDoesNotBelongIsToldOrLetGo) {
  const int port = free_port();
  std::jthread master([&] { connect_ranks(rank_of(0, 2, port)); });
  // A stranger, with something else to say.
  for (;;) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool there = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    if (there) {
      EXPECT_EQ(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
      char answer;
      EXPECT_LE(recv(fd, &answer, 1, 0), 0);
    }
    close(fd);
    if (there) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_NE(error_of([&] { connect_ranks(rank_of(2, 3, port)); }, ErrorCode::kInvalidArgument)
                .find("rank 2 of 3 comes to a run of 2"),
            std::string::npos);
  EXPECT_NO_THROW(connect_ranks(rank_of(1, 2, port)));
}

TEST(Ranks, NumbersThatMakeNoSenseAreRefused) {
  for (const TrainRanks& ranks : {rank_of(2, 2, 1), rank_of(-1, 2, 1), rank_of(0, 0, 1),
                                  rank_of(0, 2, 0), rank_of(0, 2, 70000)}) {
    EXPECT_NE(error_of([&] { connect_ranks(ranks); }, ErrorCode::kInvalidArgument), "");
  }
}

// ---- runs

struct Trained {
  std::vector<TrainStep> steps;
  std::vector<float> weights;
};

Trained run(TrainOptions o) {
  Trained out;
  TrainEvents events;
  events.step = [&](const TrainStep& step) { out.steps.push_back(step); };
  train(o, events);
  if (o.ranks.rank > 0) return out;
  const auto file = io::Checkpoint::open(o.output_dir);
  for (const TensorView& t : file.tensors()) {
    const size_t begin = out.weights.size();
    out.weights.resize(begin + static_cast<size_t>(element_count(t.shape)));
    convert_to_f32(t.dtype, t.bytes.data(), out.weights.data() + begin, out.weights.size() - begin);
  }
  return out;
}

void expect_same(const Trained& got, const Trained& want, const std::string& what) {
  ASSERT_EQ(got.steps.size(), want.steps.size()) << what;
  for (size_t i = 0; i < want.steps.size(); ++i) {
    EXPECT_NEAR(got.steps[i].loss / want.steps[i].loss, 1, 2e-5) << what << " step " << i;
    EXPECT_NEAR(got.steps[i].gradient_norm / want.steps[i].gradient_norm, 1, 1e-4) << what;
    EXPECT_EQ(got.steps[i].tokens, want.steps[i].tokens) << what;
  }
  EXPECT_LT(largest_difference(got.weights, want.weights), 1e-4) << what;
}

/// Steps small enough that Adam does not make much of a gradient that is nothing but rounding.
TrainOptions calm_run(const fs::path& out, const std::string& name, TrainTask task) {
  TrainOptions o = small_run(out, name);
  o.task = task;
  o.negatives_cross_device = task != TrainTask::kReranker;
  o.learning_rate = 1e-4;
  o.adam_epsilon = 1e-4;
  return o;
}

const std::tuple<const char*, TrainTask> kTasks[] = {{"xlmr-ce", TrainTask::kReranker},
                                                     {"xlmr-bi-cls-norm", TrainTask::kEmbedder},
                                                     {"xlmr-m3", TrainTask::kM3}};

TEST(Devices, TwoWithHalfABatchAreOneWithTheWholeAlsoWithDropout) {
  for (const auto& [name, task] : kTasks) {
    Folder folder;
    TrainOptions o = calm_run(folder / "one", name, task);
    o.per_device_train_batch_size = 4;  // 6 examples: every second batch has two
    const Trained one = run(o);
    o.per_device_train_batch_size = 2;
    o.device = "cpu,cpu";
    o.output_dir = folder / "two";
    expect_same(run(o), one, name);
    // The last batch leaves two of four without anything to do; and the gradient cache.
    o.per_device_train_batch_size = 1;
    o.device = "cpu,cpu,cpu,cpu";
    o.output_dir = folder / "four";
    o.sub_batch_tokens = 40;
    expect_same(run(o), one, name);
  }
}

TEST(Devices, WithoutNegativesAcrossThemEachHasItsOwn) {
  Folder folder;
  TrainOptions o = calm_run(folder / "one", "xlmr-bi-cls-norm", TrainTask::kEmbedder);
  o.negatives_cross_device = false;
  o.per_device_train_batch_size = 4;
  const Trained one = run(o);
  o.per_device_train_batch_size = 2;
  o.device = "cpu,cpu";
  o.output_dir = folder / "two";
  EXPECT_LT(run(o).steps[0].loss, one.steps[0].loss) << "fewer negatives are easier";
  o.no_in_batch_neg = true;
  o.output_dir = folder / "two-own";
  const Trained two = run(o);
  o.device = "cpu";
  o.per_device_train_batch_size = 4;
  o.output_dir = folder / "one-own";
  expect_same(two, run(o), "own negatives alone");
}

TEST(Devices, ARunGoesOnOnAnotherNumberOfThem) {
  Folder folder;
  TrainOptions o = calm_run(folder / "out", "xlmr-ce", TrainTask::kReranker);
  o.per_device_train_batch_size = 2;
  o.save_steps = 4;
  const Trained whole = run(o);
  o.resume = true;
  o.device = "cpu,cpu";
  o.per_device_train_batch_size = 1;
  Trained rest = run(o);
  ASSERT_EQ(rest.steps.size(), 4u);
  EXPECT_EQ(rest.steps[0].step, 5);
  EXPECT_NEAR(rest.steps[3].loss / whole.steps[7].loss, 1, 2e-5);
  EXPECT_LT(largest_difference(rest.weights, whole.weights), 1e-4);
}

TEST(Devices, ProcessesAreAsDevicesAndRankZeroWrites) {
  Folder folder;
  TrainOptions o = calm_run(folder / "one", "xlmr-bi-cls-norm", TrainTask::kEmbedder);
  o.device = "cpu,cpu";
  const Trained threads = run(o);
  o.device = "cpu";
  const int port = free_port();
  Trained first, second;
  {
    std::jthread other([&] {
      TrainOptions p = o;
      p.ranks = rank_of(1, 2, port);
      p.output_dir = folder / "other";
      second = run(p);
    });
    TrainOptions p = o;
    p.ranks = rank_of(0, 2, port);
    p.output_dir = folder / "two";
    first = run(p);
  }
  EXPECT_EQ(first.weights, threads.weights);
  EXPECT_TRUE(second.steps.empty()) << "rank 0 tells";
  EXPECT_FALSE(fs::exists(folder / "other"));
}

/// A run of two processes whose options differ by rank; the error of each.
std::vector<std::string> errors_of_two(const TrainOptions& options,
                                       const std::function<void(TrainOptions&, int)>& change) {
  const int port = free_port();
  std::vector<std::string> errors(2);
  std::vector<std::jthread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      TrainOptions o = options;
      o.ranks = rank_of(r, 2, port);
      change(o, r);
      try {
        train(o);
      } catch (const Error& error) {
        errors[static_cast<size_t>(r)] = error.what();
      }
    });
  }
  threads.clear();  // joins
  return errors;
}

TEST(Devices, RanksOfDifferentRunsDoNotMix) {
  Folder folder;
  const auto errors = errors_of_two(small_run(folder / "out"), [](TrainOptions& o, int r) {
    o.learning_rate = r == 0 ? 1e-3 : 2e-3;
  });
  for (const std::string& error : errors) {
    EXPECT_NE(error.find("of the run is at another one than rank"), std::string::npos) << error;
  }
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST(Devices, AStopOfOneStopsAll) {
  Folder folder;
  const int port = free_port();
  std::array<std::atomic<bool>, 2> stopped = {};
  std::stop_source stop;  // rank 1's
  {
    std::vector<std::jthread> threads;
    for (int r = 0; r < 2; ++r) {
      threads.emplace_back([&, r] {
        TrainOptions o = small_run(folder / "out");
        o.ranks = rank_of(r, 2, port);
        TrainEvents events;
        events.step = [&](const TrainStep& s) {
          if (s.step == 3) stop.request_stop();
        };
        const bool ended = train(o, events, r == 1 ? stop.get_token() : std::stop_token()).stopped;
        stopped[static_cast<size_t>(r)] = ended;
      });
    }
  }
  EXPECT_TRUE(stopped[0] && stopped[1]);
  EXPECT_FALSE(fs::exists(folder / "out/model.safetensors"));
  // Rank 1 may have told that it does not stop yet when it was asked to.
  EXPECT_TRUE(fs::exists(folder / "out/checkpoint-3/trainer_state.json") ||
              fs::exists(folder / "out/checkpoint-4/trainer_state.json"));
}

TEST(Devices, AccumulationAdaptersFrozenLayersAndParts) {
  Folder folder;
  const std::vector<std::function<void(TrainOptions&)>> kinds = {
      [](TrainOptions& o) { o.gradient_accumulation_steps = 2; },
      [](TrainOptions& o) { o.use_lora = true, o.lora_rank = 4; },
      [](TrainOptions& o) { o.freeze_layers = 1, o.gradient_checkpointing = "1"; },
      [](TrainOptions& o) { o.freeze_words = true, o.weight_decay = 0.1; }};
  for (size_t i = 0; i < kinds.size(); ++i) {
    TrainOptions o =
        calm_run(folder / ("one" + std::to_string(i)), "xlmr-ce", TrainTask::kReranker);
    o.per_device_train_batch_size = 4;
    kinds[i](o);
    const Trained one = run(o);
    o.per_device_train_batch_size = 2;
    o.device = "cpu,cpu";
    o.output_dir = folder / ("two" + std::to_string(i));
    expect_same(run(o), one, std::to_string(i));
  }
}

TEST(Devices, ResumedTheyAreUninterruptedBitForBit) {
  Folder folder;
  TrainOptions o = calm_run(folder / "out", "xlmr-ce", TrainTask::kReranker);
  o.device = "cpu,cpu";
  o.save_steps = 4;
  const Trained whole = run(o);
  o.resume = true;
  EXPECT_EQ(run(o).weights, whole.weights);
}

TEST(Devices, WhatIsNotFiniteIsNamedOnceOrLeftOutByAll) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.device = "cpu,cpu";
  o.learning_rate = 1e30;
  o.max_grad_norm = 0;
  o.lr_scheduler_type = "constant";
  const std::string message = error_of([&] { train(o); }, ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("step 2: "), std::string::npos) << message;
  EXPECT_NE(message.find(", first in the embeddings;"), std::string::npos) << message;
  o.skip_not_finite = true;
  const Trained left_out = run(o);
  EXPECT_EQ(std::count_if(left_out.steps.begin(), left_out.steps.end(),
                          [](const TrainStep& s) { return s.skipped; }),
            7);
}

TEST(Devices, ThePlanIsToldOnce) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.device = "cpu,cpu,cpu";
  int planned = 0;
  TrainEvents events;
  events.planned = [&](const TrainPlan&) { ++planned; };
  train(o, events);
  EXPECT_EQ(planned, 1);
}

TEST(Devices, OtherInstructionSetsDoNotMix) {
  if (supported_isas().size() < 2) GTEST_SKIP() << "this machine has one instruction set";
  Folder folder;
  const auto errors = errors_of_two(small_run(folder / "out"), [](TrainOptions& o, int r) {
    o.isa = supported_isas()[static_cast<size_t>(r)];
  });
  for (const std::string& error : errors) {
    EXPECT_NE(error.find("computed by cpu with " + supported_isas()[0]), std::string::npos)
        << error;
    EXPECT_NE(error.find("computed by cpu with " + supported_isas()[1]), std::string::npos)
        << error;
  }
}

TEST(Devices, SeveralProcessesHaveOneDeviceEach) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.device = "cpu,cpu";
  o.ranks = rank_of(0, 2, 1234);
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kInvalidArgument).find("has one device"),
            std::string::npos);
}

}  // namespace
}  // namespace tamis::training
