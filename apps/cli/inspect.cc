// tamis inspect

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "arguments.h"
#include "base/byte_size.h"
#include "commands.h"
#include "default_model.h"
#include "display_width.h"
#include "options.h"
#include "tamis/model.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis inspect
  tamis inspect models/bge-reranker-v2-m3 --all
  tamis inspect models/bge-m3 --format json
  tamis inspect --device cpu,sim:0 --sim memory=2GiB --dtype bf16 --batch-tokens 4096

Nothing is loaded: sizes come from the files' headers. The memory plan is made for every device that
is named, and never refused. Tensors of equal layers are shown once, as
layer.0-23.)";

struct Options {
  ModelOptions model;
  OutputOptions output;
  std::string directory;  // the positional form of --model
  size_t batch_tokens = 0;
  bool all = false;
};

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// Tensors that differ by their layer's number alone.
struct TensorGroup {
  std::string before, after;  // of the number
  std::vector<int64_t> layers;
  TensorInfo first;
  size_t bytes = 0;

  std::string name() const {
    if (layers.empty()) return first.name;
    const auto [low, high] = std::minmax_element(layers.begin(), layers.end());
    const bool without_gaps = *high - *low + 1 == static_cast<int64_t>(layers.size());
    return before +
           (layers.size() == 1 ? fmt::format("{}", *low)
            : without_gaps     ? fmt::format("{}-{}", *low, *high)
                               : fmt::format("{}", fmt::join(layers, ","))) +
           after;
  }
};

// "encoder.layer.11.output.dense.bias" → its parts around the first number; no number: layers
// empty.
TensorGroup group_of(const TensorInfo& tensor) {
  TensorGroup out;
  out.first = tensor;
  for (size_t dot = tensor.name.find('.'); dot != std::string::npos;
       dot = tensor.name.find('.', dot + 1)) {
    const size_t begin = dot + 1;
    const size_t end = std::min(tensor.name.find('.', begin), tensor.name.size());
    const std::string part = tensor.name.substr(begin, end - begin);
    const bool number = !part.empty() && part.size() < 7 &&
                        part.find_first_not_of("0123456789") == std::string::npos;
    if (!number) continue;
    out.before = tensor.name.substr(0, begin);
    out.after = tensor.name.substr(end);
    out.layers = {std::stoll(part)};
    break;
  }
  return out;
}

std::vector<TensorGroup> grouped_tensors(const std::vector<TensorInfo>& tensors, bool all,
                                         bool used) {
  std::vector<TensorGroup> out;
  std::map<std::string, size_t> known;  // what the members of a group share → index in out
  for (const TensorInfo& tensor : tensors) {
    if (tensor.used != used) continue;
    TensorGroup group = group_of(tensor);
    const std::string shared = fmt::format("{}\n{}\n{}\n{}\n{}", group.before, group.after,
                                           tensor.dtype, shape_text(tensor.shape), tensor.file);
    const auto place = known.emplace(shared, out.size());
    const bool joins = !all && !group.layers.empty() && !place.second;
    if (!joins) {
      if (all || group.layers.empty()) group.layers.clear();
      out.push_back(std::move(group));
      out.back().bytes = tensor.bytes;
      continue;
    }
    TensorGroup& same = out[place.first->second];
    same.layers.push_back(group.layers.front());
    same.bytes += tensor.bytes;
  }
  return out;
}

void write_tensors(std::string& out, const std::vector<TensorGroup>& groups) {
  size_t name = 0, shape = 0;
  std::vector<std::string> names;  // they come from a file: made printable
  for (const auto& group : groups) {
    names.push_back(fit_to_columns(group.name(), 0));
    name = std::max(name, display_width(names.back()));
    shape = std::max(shape, shape_text(group.first.shape).size());
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    const TensorGroup& group = groups[i];
    out += fmt::format("  {}  {:<5} {:<{}}  {:>10}\n", pad_right(names[i], name), group.first.dtype,
                       shape_text(group.first.shape), shape, format_bytes(group.bytes));
  }
}

void write_line(std::string& out, std::string_view name, const std::string& value) {
  out += fmt::format("{:<15} {}\n", name, value);
}

std::string label_list(const std::vector<std::string>& labels) {
  constexpr size_t kShown = 8;
  const size_t shown = std::min(labels.size(), kShown);
  return fmt::format("{} ({}{})", labels.size(),
                     fmt::join(labels.begin(), labels.begin() + static_cast<long>(shown), ", "),
                     shown < labels.size() ? ", ..." : "");
}

void write_summary(std::string& out, const ModelInfo& info) {
  const bool embedder = info.kind == ModelKind::kEmbedder;
  write_line(out, "directory", fit_to_columns(info.directory.string(), 0));
  write_line(
      out, "architecture",
      fit_to_columns(info.architecture, 0) + (embedder ? " (embedder)" : " (cross-encoder)"));
  write_line(out, "parameters", grouped(static_cast<unsigned long long>(info.parameters)));
  write_line(out, "layers",
             fmt::format("{} x {} wide, {} heads, feed-forward {}", info.num_layers,
                         info.hidden_size, info.num_heads, info.intermediate_size));
  write_line(out, "vocabulary", grouped(static_cast<unsigned long long>(info.vocab_size)));
  write_line(out, "maximum length", fmt::format("{} tokens", grouped(info.max_length)));
  if (!info.labels.empty()) write_line(out, "labels", fit_to_columns(label_list(info.labels), 0));
  if (embedder) {
    write_line(out, "pooling", info.pooling + (info.normalize ? ", then length 1" : ""));
    if (info.sparse) write_line(out, "sparse head", "a lexical weight of each token");
    if (info.colbert_dimension > 0) {
      write_line(out, "colbert head",
                 fmt::format("{} numbers of each token", info.colbert_dimension));
    }
  }
}

void write_plan(std::string& out, const MemoryPlan& plan, std::string_view dtype) {
  const auto part = [&](std::string_view name, size_t bytes, const std::string& what) {
    write_line(out, name, fmt::format("{:>10} {}", format_bytes(bytes), what));
  };
  std::string room = fmt::format("in all on {}", plan.device);
  if (plan.total_bytes > 0) {
    room += fmt::format(", where {} of {} are free", format_bytes(plan.free_bytes),
                        format_bytes(plan.total_bytes));
  }
  part("memory", plan.weight_bytes + plan.workspace_bytes, room);
  if (plan.mapped_bytes > 0) part("  besides", plan.mapped_bytes, "of words stay in the file");
  part("  weights", plan.weight_bytes, fmt::format("converted to {} and packed", dtype));
  part("  workspace", plan.workspace_bytes,
       fmt::format("for batches of {} tokens", grouped(plan.batch_tokens)));
}

void write_text(std::string& out, const ModelDescription& model, std::string_view dtype, bool all) {
  write_summary(out, model.info);
  for (const MemoryPlan& plan : model.plans) write_plan(out, plan, dtype);
  write_line(out, "isas here", fmt::format("{}", fmt::join(supported_isas(), ", ")));
  const auto used = grouped_tensors(model.tensors, all, true);
  const auto ignored = grouped_tensors(model.tensors, all, false);
  out += "\ntensors\n";
  write_tensors(out, used);
  if (!ignored.empty()) {
    out += "\nignored tensors (this architecture has no use for them)\n";
    write_tensors(out, ignored);
  }
}

int run(const Options& options) {
  const Notices notices = options.output.notices();
  if (!options.directory.empty() && !options.model.directory.empty()) {
    throw UsageError("the model is given as an argument and by --model", "give one of them");
  }
  const std::string& given =
      options.directory.empty() ? options.model.directory : options.directory;
  Output output = Output::open(plain(options.output.path));
  const auto directory = find_model(plain(given), kDefaultReranker);
  const ModelDescription model = describe_model(
      directory, load_options(options.model, options.batch_tokens, notices), options.batch_tokens);
  const std::string& dtype = model.dtype;
  if (options.output.format == "json") {
    write_description(output.buffer(), model, dtype, supported_isas(), JsonLayout::kIndented);
    output.buffer() += '\n';
  } else {
    write_text(output.buffer(), model, dtype, options.all);
  }
  output.finish();
  return 0;
}

}  // namespace

Command add_inspect(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("inspect", "Describe a model directory: sizes, tensors, memory");
  auto options = std::make_shared<Options>();
  app->add_option("directory", options->directory, "model directory; see --model")
      ->type_name("DIR")
      ->option_text("[DIR]");
  app->add_flag("--all", options->all, "every tensor on its own line");
  add_count(*app, "--batch-tokens", options->batch_tokens, 1,
            "plan the memory for batches of N tokens");
  add_model_option(*app, options->model);
  add_place_options(*app, options->model.place);
  add_output_options(*app, options->output, {"table", "json"});
  app->footer(kFooter);
  return {app, [options](auto) { return run(*options); }};
}

}  // namespace tamis::cli
