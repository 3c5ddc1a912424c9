// What a run leaves beside the model. tests/cli/test_training_reports.py and test_report_pages.py
// read the files themselves.

#include "train/run_files.h"

#include <cmath>

#include "train/run_page.h"
#include "train_fixture.h"

namespace tamis::training {
namespace {

std::vector<fs::path> files_in(const fs::path& directory) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(directory)) out.push_back(entry.path());
  return out;
}

TEST(RunFiles, APlaceThatNobodyKnowsIsRefusedBeforeAnythingIsWritten) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.report_to = "wandb";
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kInvalidArgument)
                .find("report_to: expected none or tensorboard, got \"wandb\""),
            std::string::npos);
  EXPECT_FALSE(fs::exists(o.output_dir));
}

TEST(RunFiles, ARunThatIsWrittenOverLeavesNoEvents) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.report_to = "tensorboard";
  o.max_steps = 3;
  train(o);
  const auto first = files_in(folder / "out/runs");
  ASSERT_EQ(first.size(), 1u);
  const auto size = fs::file_size(first[0]);
  o.overwrite_output_dir = true;
  train(o);
  const auto second = files_in(folder / "out/runs");
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(fs::file_size(second[0]), size) << "as many records";
}

TEST(RunFiles, ALossThatIsNotFiniteIsALineButNoPointOfTheCurve) {
  Folder folder;
  TrainOptions o = small_run(folder / "");
  o.logging_steps = 2;
  TrainReport report;
  {
    RunFiles files(o, 0);
    for (int64_t step = 1; step <= 5; ++step) {
      TrainStep s;
      s.step = step;
      s.loss = step == 3 ? std::nan("") : static_cast<double>(step);
      s.seconds = 1;
      s.tokens = 10;
      files.add(s);
    }
    files.finish(report);
    files.write_pages(report);
  }
  const std::string lines = text_of(folder / "metrics.jsonl");
  EXPECT_NE(lines.find("\"step\":4,\"epoch\":0,\"loss\":null"), std::string::npos) << lines;
  ASSERT_EQ(report.losses.size(), 2u);
  EXPECT_EQ(report.losses[0].loss, 1.5);
  EXPECT_EQ(report.losses[1].step, 5) << "the last line has less than logging_steps";
  EXPECT_EQ(report.final_loss, 5);
  EXPECT_EQ(text_of(folder / "training.html").find("nan"), std::string::npos);
  // Read again from the lines, as a resume does.
  TrainReport again;
  RunFiles(o, 4).finish(again);
  ASSERT_EQ(again.losses.size(), 1u);
  EXPECT_EQ(again.losses[0].step, 2);
}

TEST(RunPage, OptionsAreThoseThatDiffer) {
  EXPECT_TRUE(changed_options(TrainOptions{}).empty());
  TrainOptions o;
  o.learning_rate = 6e-5;
  o.mrl_dims = {64, 128};
  o.query_instruction = "query: ";
  o.memory_limit_bytes = 2'000'000'000;
  o.train_data = {"a.jsonl", "b"};
  const std::vector<std::pair<std::string, std::string>> want = {{"train_data", "a.jsonl b"},
                                                                 {"query_instruction", "query: "},
                                                                 {"mrl_dims", "64 128"},
                                                                 {"learning_rate", "6e-05"},
                                                                 {"memory_limit", "2.00 GB"}};
  EXPECT_EQ(changed_options(o), want);
}

}  // namespace
}  // namespace tamis::training
