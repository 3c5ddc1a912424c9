// FlagEmbedding's data: what is read, what is drawn, what is refused.

#include "train/dataset.h"

#include <algorithm>
#include <map>
#include <set>

#include "train_fixture.h"

namespace tamis::training {
namespace {

constexpr const char* kLine = R"({"query": "q", "pos": ["p"], "neg": ["a", "b", "c"]})";

TrainOptions options_for(const fs::path& data, size_t group = 3) {
  TrainOptions o;
  o.train_data = {data};
  o.train_group_size = group;
  return o;
}

TEST(Dataset, DrawsOnePositiveAndNegativesWithoutRepetition) {
  Folder folder;
  const Dataset data(options_for(
      folder.write("d.jsonl",
                   R"({"query": "q", "pos": ["p1", "p2"], "neg": ["a", "b", "c", "d"]})"),
      4));
  std::set<std::string> positives;
  for (uint64_t epoch = 0; epoch < 20; ++epoch) {
    const Group g = data.group(0, 4, epoch);
    EXPECT_EQ(g.query, "q");
    ASSERT_EQ(g.passages.size(), 4u);
    positives.insert(g.passages[0]);
    EXPECT_EQ(std::set<std::string>(g.passages.begin() + 1, g.passages.end()).size(), 3u);
    EXPECT_EQ(data.group(0, 4, epoch).passages, g.passages) << "drawn by seed and epoch alone";
  }
  EXPECT_EQ(positives, (std::set<std::string>{"p1", "p2"}));
}

TEST(Dataset, RepeatsAListThatIsTooShort) {
  Folder folder;
  const Dataset data(options_for(
      folder.write("d.jsonl", R"({"query": "q", "pos": ["p"], "neg": ["a", "b"]})"), 8));
  const Group g = data.group(0, 8, 0);
  ASSERT_EQ(g.passages.size(), 8u);
  // Seven out of four copies of two: no more than four of one.
  EXPECT_LE(std::count(g.passages.begin(), g.passages.end(), "a"), 4);
  EXPECT_LE(std::count(g.passages.begin(), g.passages.end(), "b"), 4);
}

TEST(Dataset, TeacherScoresFollowTheirPassages) {
  Folder folder;
  TrainOptions o =
      options_for(folder.write("d.jsonl", R"({"query": "q", "pos": ["5"], "neg": ["1", "2", "3"],
"pos_scores": [5], "neg_scores": [1, 2.0, 3]})"),
                  4);
  // One example over two lines is two broken lines.
  EXPECT_NE(error_of([&] { Dataset d(o); }, ErrorCode::kDataLoss), "");
  folder.write(
      "d.jsonl",
      R"({"query": "q", "pos": ["5"], "neg": ["1", "2", "3"], "pos_scores": [5], "neg_scores": [1, 2.0, 3]})");
  o.knowledge_distillation = true;
  const Group g = Dataset(o).group(0, 4, 1);
  ASSERT_EQ(g.teacher.size(), 4u);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(std::to_string(static_cast<int>(g.teacher[i])), g.passages[i]);
}

TEST(Dataset, InstructionsAreFormatted) {
  Folder folder;
  TrainOptions o = options_for(
      folder.write(
          "d.jsonl",
          R"({"query": "q", "pos": ["p"], "neg": ["n"]})"
          "\n"
          R"({"query": "q", "pos": ["p"], "neg": ["n"], "query_prompt": "own", "passage_prompt": "mine"})"),
      2);
  o.query_instruction = "ask";
  o.query_instruction_format = "{}: <{}>";
  o.passage_instruction = "read";
  const Dataset data(o);
  EXPECT_EQ(data.group(0, 2, 0).query, "ask: <q>");
  EXPECT_EQ(data.group(0, 2, 0).passages[0], "readp");
  EXPECT_EQ(data.group(1, 2, 0).query, "own: <q>");
  EXPECT_EQ(data.group(1, 2, 0).passages[1], "minen");
  o.query_instruction_format = "{} only";
  EXPECT_NE(error_of([&] { Dataset d(o); }, ErrorCode::kInvalidArgument).find("{} twice"),
            std::string::npos);
}

std::vector<uint32_t> flat(const std::vector<Batch>& batches) {
  std::vector<uint32_t> out;
  for (const Batch& b : batches) out.insert(out.end(), b.examples.begin(), b.examples.end());
  return out;
}

TEST(Dataset, AnEpochHasEveryExampleOnceInAnOrderOfItsOwn) {
  Folder folder;
  std::string text;
  for (int i = 0; i < 101; ++i) text += std::string(kLine) + "\n\n";  // empty lines do not count
  TrainOptions o = options_for(folder.write("d.jsonl", text));
  const Dataset data(o);
  ASSERT_EQ(data.size(), 101u);
  const auto first = data.batches(0), second = data.batches(1);
  EXPECT_NE(flat(first), flat(second));
  EXPECT_EQ(flat(first), flat(data.batches(0)));
  ASSERT_EQ(first.size(), 13u);
  EXPECT_EQ(first.back().examples.size(), 5u);
  auto sorted = flat(first);
  std::sort(sorted.begin(), sorted.end());
  for (uint32_t i = 0; i < 101; ++i) EXPECT_EQ(sorted[i], i);
  o.dataloader_drop_last = true;
  EXPECT_EQ(Dataset(o).batches(0).size(), 12u);
}

TEST(Dataset, BatchesOfOneFileHaveWhatTheirTypeSays) {
  Folder folder;
  const auto lines = [](const std::string& type, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) {
      out += R"({"query": "q", "pos": ["p"], "neg": ["a", "b"], "type": ")" + type + "\"}\n";
    }
    return out;
  };
  TrainOptions o;
  o.task = TrainTask::kEmbedder;
  fs::create_directories(folder / "class-no_in_batch_neg");
  o.train_data = {
      folder.write("normal.jsonl", lines("normal", 10)),
      folder.write("one.jsonl", lines("only_1neg", 4)),
      folder.write("sts.jsonl", lines("symmetric_sts", 5)),
      folder.write("class-no_in_batch_neg/c.jsonl", lines("symmetric_class", 4)).parent_path()};
  o.same_dataset_within_batch = true;
  o.per_device_train_batch_size = 4;
  o.train_group_size = 5;
  o.query_instruction = "Q ";
  const Dataset data(o);
  std::map<std::string, size_t> batches;
  for (const Batch& b : data.batches(0)) {
    const std::string type = data.example(b.examples[0]).type;
    for (uint32_t i : b.examples) EXPECT_EQ(data.example(i).type, type);
    EXPECT_EQ(b.in_batch_negatives, type != "symmetric_class");
    EXPECT_EQ(b.examples.size(), type.starts_with("symmetric") ? 2u : 4u);
    EXPECT_EQ(b.group_size, type == "only_1neg" ? 2u : type == "symmetric_class" ? 3u : 5u);
    const Group g = data.group(b.examples[0], b.group_size, 0);
    EXPECT_EQ(g.query, "Q q");
    EXPECT_EQ(g.passages[0], type == "symmetric_sts" ? "Q p" : "p");
    ++batches[type];
  }
  const std::map<std::string, size_t> want = {
      {"normal", 2}, {"only_1neg", 1}, {"symmetric_sts", 2}, {"symmetric_class", 2}};
  EXPECT_EQ(batches, want) << "what does not fill a batch is left out";
}

TEST(Dataset, ShufflesPartsOfLongPassages) {
  Folder folder;
  std::string text;
  for (int i = 0; i < 60; ++i) text += "\u00e4b";
  TrainOptions o = options_for(folder.write("d.jsonl", "{\"query\": \"q\", \"pos\": [\"" + text +
                                                           "\"], \"neg\": [\"short\"]}"),
                               2);
  o.shuffle_ratio = 1;
  const Dataset data(o);
  const Group g = data.group(0, 2, 3);
  EXPECT_EQ(g.passages[0].size(), text.size() + 2) << "three parts, and two spaces between them";
  EXPECT_EQ(g.passages[1], "short");
}

TEST(Dataset, FoldersAndTheNameOfTheData) {
  Folder folder;
  fs::create_directories(folder / "x-no_in_batch_neg");
  folder.write("x-no_in_batch_neg/b.jsonl", kLine);
  folder.write("x-no_in_batch_neg/a.json", kLine);
  folder.write("x-no_in_batch_neg/readme.txt", "no data");
  const Dataset data(options_for(folder / "x-no_in_batch_neg"));
  EXPECT_EQ(data.size(), 2u);
  EXPECT_FALSE(data.batches(0)[0].in_batch_negatives);
  EXPECT_TRUE(
      Dataset(options_for(folder / "x-no_in_batch_neg/b.jsonl")).batches(0)[0].in_batch_negatives);
}

struct BadLine {
  const char* text;
  const char* message;
};

TEST(Dataset, BadLinesAreNamed) {
  Folder folder;
  for (const BadLine& bad :
       {BadLine{"{", "line 2"},
        {"[]", "expected an object with query, pos and neg"},
        {R"({"pos": ["p"], "neg": ["n"]})", "query"},
        {R"({"query": 5, "pos": ["p"], "neg": ["n"]})", "query: expected a string, got an integer"},
        {R"({"query": "q", "neg": ["n"]})", "pos"},
        {R"({"query": "q", "pos": [], "neg": ["n"]})", "pos: expected at least one string"},
        {R"({"query": "q", "pos": "p", "neg": ["n"]})", "pos: expected an array, got a string"},
        {R"({"query": "q", "pos": ["p"], "neg": []})", "neg: expected at least one string"},
        {R"({"query": "q", "pos": ["p"], "neg": ["a", null]})",
         "neg[1]: expected a string, got null"}}) {
    const auto path = folder.write("d.jsonl", std::string(kLine) + "\n" + bad.text + "\n");
    const std::string message =
        error_of([&] { Dataset d(options_for(path)); }, ErrorCode::kDataLoss);
    EXPECT_NE(message.find(bad.message), std::string::npos) << message;
    EXPECT_NE(message.find("d.jsonl line 2"), std::string::npos) << message;
  }
  TrainOptions o = options_for(folder.write(
      "d.jsonl",
      R"({"query": "q", "pos": ["p"], "neg": ["n"], "pos_scores": [1], "neg_scores": [1, 2]})"));
  o.knowledge_distillation = true;
  const std::string message = error_of([&] { Dataset d(o); }, ErrorCode::kDataLoss);
  EXPECT_NE(message.find("neg_scores: expected 1 numbers, one for each passage, got 2"),
            std::string::npos)
      << message;
}

TEST(Dataset, MissingDataIsNamed) {
  Folder folder;
  EXPECT_NE(error_of([&] { Dataset d(options_for(folder / "none.jsonl")); }, ErrorCode::kNotFound),
            "");
  fs::create_directories(folder / "empty");
  EXPECT_NE(error_of([&] { Dataset d(options_for(folder / "empty")); }, ErrorCode::kNotFound), "");
  EXPECT_NE(error_of([&] { Dataset d(options_for(folder.write("e.jsonl", "\n \n"))); },
                     ErrorCode::kDataLoss),
            "");
  EXPECT_NE(error_of([&] { Dataset d(options_for(folder.write("d.jsonl", kLine), 1)); },
                     ErrorCode::kInvalidArgument),
            "");
}

}  // namespace
}  // namespace tamis::training
