#include "train/batches.h"

#include <algorithm>
#include <numeric>

#include "batch/pair_rule.h"

namespace tamis::training {

size_t Sequences::tokens(size_t begin, size_t end) const {
  size_t out = 0;
  for (size_t i = begin; i < end; ++i) out += encodings[i].ids.size();
  return out;
}

size_t Sequences::longest() const {
  size_t out = 0;
  for (const text::Encoding& e : encodings) out = std::max(out, e.ids.size());
  return out;
}

Sequences Sequences::share(size_t begin, size_t end) const {
  Sequences out;
  out.groups = end - begin;
  out.group_size = group_size;
  const auto add = [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      out.encodings.push_back(encodings[i]);
      out.numbers.push_back(numbers[i]);
    }
  };
  const size_t queries = encodings.size() - groups * group_size;  // 0 where pairs were made
  if (queries > 0) add(begin, end);
  add(queries + begin * group_size, queries + end * group_size);
  if (!teacher.empty()) {
    const auto at = [&](size_t group) {
      return teacher.begin() + static_cast<std::ptrdiff_t>(group * group_size);
    };
    out.teacher.assign(at(begin), at(end));
  }
  return out;
}

PackedBatch Sequences::pack(size_t begin, size_t end, const PositionRule& rule) const {
  std::vector<SequenceView> views;
  for (size_t i = begin; i < end; ++i) views.push_back({encodings[i].ids, encodings[i].type_ids});
  std::vector<size_t> tickets(views.size());
  std::iota(tickets.begin(), tickets.end(), size_t{0});
  return tamis::pack(views, tickets, rule);
}

Tokenize::Tokenize(const text::Tokenizer& tokenizer, const TrainOptions& options,
                   size_t model_max_length)
    : tokenizer_(tokenizer),
      task_(options.task),
      query_max_len_(options.query_max_len),
      passage_max_len_(options.passage_max_len),
      model_max_length_(model_max_length) {}

size_t Tokenize::longest() const {
  const size_t wanted = task_ == TrainTask::kReranker ? query_max_len_ + passage_max_len_
                                                      : std::max(query_max_len_, passage_max_len_);
  return std::min(wanted, model_max_length_);
}

text::Encoding Tokenize::pair(std::span<const int32_t> query, std::string_view passage) const {
  std::vector<int32_t> first(query.begin(), query.end()), second;
  tokenizer_.encode(passage, second);
  const size_t most_second = passage_max_len_ + query_max_len_ / 2;
  if (second.size() > most_second) second.resize(most_second);
  PairLimits limits;
  limits.max_length = longest();
  limits.query_length = query_max_len_ + passage_max_len_ / 4;
  limits.overhead = tokenizer_.pair_overhead();
  cut_pair(first, second, limits);
  return tokenizer_.build_pair(first, second);
}

text::Encoding Tokenize::single(std::string_view text, size_t max_length) const {
  std::vector<int32_t> ids;
  tokenizer_.encode(text, ids);
  cut_single(ids, std::min(max_length, model_max_length_), tokenizer_.single_overhead());
  return tokenizer_.build_single(ids);
}

Sequences Tokenize::operator()(std::span<const Group> groups) const {
  Sequences out;
  out.groups = groups.size();
  out.group_size = groups.empty() ? 0 : groups.front().passages.size();
  if (task_ != TrainTask::kReranker) {
    for (const Group& g : groups) out.encodings.push_back(single(g.query, query_max_len_));
  }
  for (const Group& g : groups) {
    std::vector<int32_t> query;
    if (task_ == TrainTask::kReranker) tokenizer_.encode(g.query, query);
    for (const std::string& passage : g.passages) {
      out.encodings.push_back(task_ == TrainTask::kReranker ? pair(query, passage)
                                                            : single(passage, passage_max_len_));
    }
    out.teacher.insert(out.teacher.end(), g.teacher.begin(), g.teacher.end());
  }
  out.numbers.resize(out.encodings.size());
  std::iota(out.numbers.begin(), out.numbers.end(), 0);
  return out;
}

}  // namespace tamis::training
