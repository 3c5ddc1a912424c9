#include "train/run_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/byte_size.h"
#include "io/html_page.h"
#include "io/svg_plot.h"

namespace tamis::training {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

std::string task_name(TrainTask task) {
  return task == TrainTask::kReranker ? "reranker" : task == TrainTask::kM3 ? "m3" : "embedder";
}

// An option that has no row in one of these two lists is not told.
Rows data_options(const TrainOptions& o) {
  std::string data;
  for (const auto& path : o.train_data) data += (data.empty() ? "" : " ") + path.string();
  const auto text = [](const auto& value) { return fmt::format("{}", value); };
  return {{"model_name_or_path", o.model_name_or_path.string()},
          {"train_data", data},
          {"output_dir", o.output_dir.string()},
          {"train_group_size", text(o.train_group_size)},
          {"query_max_len", text(o.query_max_len)},
          {"passage_max_len", text(o.passage_max_len)},
          {"max_example_num_per_dataset", text(o.max_example_num_per_dataset)},
          {"same_dataset_within_batch", text(o.same_dataset_within_batch)},
          {"knowledge_distillation", text(o.knowledge_distillation)},
          {"shuffle_ratio", text(o.shuffle_ratio)},
          {"query_instruction", o.query_instruction.value_or("")},
          {"query_instruction_format", o.query_instruction_format},
          {"passage_instruction", o.passage_instruction.value_or("")},
          {"passage_instruction_format", o.passage_instruction_format},
          {"temperature", text(o.temperature)},
          {"normalize_embeddings", text(o.normalize_embeddings)},
          {"sentence_pooling_method", o.sentence_pooling_method},
          {"kd_loss_type", o.kd_loss_type},
          {"mrl_dims", fmt::format("{}", fmt::join(o.mrl_dims, " "))},
          {"no_in_batch_neg", text(o.no_in_batch_neg)},
          {"negatives_cross_device", text(o.negatives_cross_device)},
          {"unified_finetuning", text(o.unified_finetuning)},
          {"use_self_distill", text(o.use_self_distill)},
          {"self_distill_start_step", text(o.self_distill_start_step)},
          {"colbert_dim", text(o.colbert_dim)},
          {"fix_encoder", text(o.fix_encoder)}};
}

Rows run_options(const TrainOptions& o) {
  const auto text = [](const auto& value) { return fmt::format("{}", value); };
  return {{"per_device_train_batch_size", text(o.per_device_train_batch_size)},
          {"gradient_accumulation_steps", text(o.gradient_accumulation_steps)},
          {"num_train_epochs", text(o.num_train_epochs)},
          {"max_steps", text(o.max_steps)},
          {"dataloader_drop_last", text(o.dataloader_drop_last)},
          {"learning_rate", text(o.learning_rate)},
          {"weight_decay", text(o.weight_decay)},
          {"adam_beta1", text(o.adam_beta1)},
          {"adam_beta2", text(o.adam_beta2)},
          {"adam_epsilon", text(o.adam_epsilon)},
          {"max_grad_norm", text(o.max_grad_norm)},
          {"lr_scheduler_type", o.lr_scheduler_type},
          {"warmup_ratio", text(o.warmup_ratio)},
          {"warmup_steps", text(o.warmup_steps)},
          {"seed", text(o.seed)},
          {"dropout", text(o.dropout)},
          {"bf16", text(o.bf16)},
          {"fp16", text(o.fp16)},
          {"freeze_words", text(o.freeze_words)},
          {"fix_position_embedding", text(o.fix_position_embedding)},
          {"freeze_layers", text(o.freeze_layers)},
          {"use_lora", text(o.use_lora)},
          {"lora_rank", text(o.lora_rank)},
          {"lora_alpha", text(o.lora_alpha)},
          {"lora_dropout", text(o.lora_dropout)},
          {"target_modules", fmt::format("{}", fmt::join(o.target_modules, " "))},
          {"gradient_checkpointing", o.gradient_checkpointing},
          {"sub_batch_tokens", text(o.sub_batch_tokens)},
          {"memory_limit", o.memory_limit_bytes ? format_bytes(*o.memory_limit_bytes) : ""},
          {"save_steps", text(o.save_steps)},
          {"save_total_limit", text(o.save_total_limit)},
          {"resume_from_checkpoint", text(o.resume)},
          {"overwrite_output_dir", text(o.overwrite_output_dir)},
          {"skip_not_finite", text(o.skip_not_finite)},
          {"logging_steps", text(o.logging_steps)},
          {"report_to", o.report_to},
          {"logging_dir", o.logging_dir.string()},
          {"device", o.device},
          {"WORLD_SIZE", text(o.ranks.size)},
          {"isa", o.isa},
          {"threads", text(o.threads)}};
}

io::PlotSeries series_of(const std::vector<MetricsRow>& rows, double MetricsRow::*value) {
  io::PlotSeries out;
  for (const MetricsRow& row : rows) {
    out.points.emplace_back(static_cast<double>(row.step), row.*value);
  }
  return out;
}

std::string curve(const std::vector<MetricsRow>& rows, double MetricsRow::*value,
                  const std::string& name) {
  io::LinePlot plot;
  plot.title = fmt::format("{} over {} steps", name, rows.back().step);
  plot.x_label = "step";
  plot.y_label = name;
  plot.series = {series_of(rows, value)};
  return io::line_plot(plot);
}

std::string plan_table(const TrainPlan& plan) {
  io::HtmlTable table{{"plan", ""}, {}};
  const auto row = [&](const char* name, std::string value) {
    table.rows.push_back({name, std::move(value)});
  };
  row("steps", fmt::format("{}", plan.steps));
  row("examples", fmt::format("{}", plan.examples));
  row("parameters", fmt::format("{}", plan.parameters));
  row("of them train", fmt::format("{}", plan.trained_parameters));
  row("memory at most", format_bytes(plan.peak_bytes));
  row("weights", format_bytes(plan.weight_bytes));
  row("gradients and moments", format_bytes(plan.state_bytes));
  row("activations", format_bytes(plan.activation_bytes));
  row("gradient checkpointing", plan.gradient_checkpointing);
  row("tokens at a time, at most", fmt::format("{}", plan.sub_batch_tokens));
  return io::html_table(table);
}

std::string end_table(const TrainReport& report, const std::vector<MetricsRow>& rows) {
  io::HtmlTable table{{"end", ""}, {}};
  const auto row = [&](const char* name, std::string value) {
    table.rows.push_back({name, std::move(value)});
  };
  row("last step", fmt::format("{}", rows.back().step));
  if (report.first_step > 0) row("went on after step", fmt::format("{}", report.first_step));
  row("epoch", fmt::format("{:.3f}", rows.back().epoch));
  row("first loss", fmt::format("{:.4f}", rows.front().loss));
  row("last loss", fmt::format("{:.4f}", report.final_loss));
  row("tokens", fmt::format("{}", report.tokens));
  row("seconds", fmt::format("{:.1f}", report.seconds));
  if (report.seconds > 0 && report.tokens > 0) {
    row("tokens a second",
        fmt::format("{:.0f}", static_cast<double>(report.tokens) / report.seconds));
  }
  return io::html_table(table);
}

std::string options_table(const TrainOptions& options) {
  io::HtmlTable table{{"option", "value"}, {}, 2};
  for (const auto& [name, value] : changed_options(options)) table.rows.push_back({name, value});
  return io::html_table(table);
}

}  // namespace

std::string loss_curve(const std::vector<MetricsRow>& rows) {
  return curve(rows, &MetricsRow::loss, "loss");
}

std::vector<std::pair<std::string, std::string>> changed_options(const TrainOptions& options) {
  Rows out;
  const TrainOptions plain;
  const auto add = [&](Rows (*list)(const TrainOptions&)) {
    const Rows now = list(options), usual = list(plain);
    for (size_t i = 0; i < now.size(); ++i) {
      if (now[i] != usual[i]) out.push_back(now[i]);
    }
  };
  add(data_options);
  add(run_options);
  return out;
}

std::string training_page(const TrainOptions& options, const TrainReport& report,
                          const std::vector<MetricsRow>& rows) {
  const std::string title = fmt::format("tamis train {}: {}", task_name(options.task),
                                        options.output_dir.filename().string());
  std::string body = fmt::format("<h1>{}</h1>\n", io::escaped_markup(title));
  body += fmt::format("<p>{} of {} steps over {} examples{}.</p>\n", rows.back().step,
                      report.plan.steps, report.plan.examples,
                      report.stopped ? "; stopped, with a checkpoint to go on from" : "");
  body += io::html_figure("Loss", loss_curve(rows));
  body +=
      io::html_figure("Learning rate", curve(rows, &MetricsRow::learning_rate, "learning rate"));
  body += io::html_figure("Gradient norm, before clipping",
                          curve(rows, &MetricsRow::gradient_norm, "gradient norm"));
  body += "<h2>Options that are not the defaults</h2>\n" + options_table(options);
  body += "<h2>What it took</h2>\n" + plan_table(report.plan) + end_table(report, rows);
  body += "<footer>The numbers of each line are in metrics.jsonl.</footer>\n";
  return io::html_page(title, body);
}

}  // namespace tamis::training
