#pragma once

// Running a model for a request: the one place where requests of all dialects meet the library.

#include <span>
#include <vector>

#include "dto/embed.h"
#include "dto/rerank.h"
#include "routes/call.h"

namespace tamis::server {

/// The model that a request names. Errors: as ModelSet::find, but one that cannot do the task is
/// HttpError "wrong_model".
ModelSet::Ref model_for(Call& call, std::string_view name, Task task);

/// Call::control, and what the body says of it.
CallControl control_of(const Call& call, const Urgency& urgency);

/// What the library is to do with pairs of this query.
RerankOptions options_of(const ServedModel& model, const Lengths& lengths, std::string_view query);
EmbedOptions options_of(const ServedModel& model, const Lengths& lengths);

/// Fills in call.report. Errors: HttpError "wrong_model" (a classifier of several labels has no
/// order of relevance), and the library's.
std::vector<RerankResult> run_rerank(Call& call, const RerankAsk& ask);
Embeddings run_embed(Call& call, const EmbedAsk& ask);
Embeddings run_embed(Call& call, const ServedModel& model, const EmbedAsk& ask);
/// The most that is asked for: a model with vectors of tokens has the rest as well.
Task task_of(const EmbedAsk& ask);
/// Pairs by themselves, each with one passage; result i belongs to pair i, and is its index.
std::vector<RerankResult> run_pairs(Call& call, const ServedModel& model,
                                    std::span<const RerankRequest> pairs,
                                    const RerankOptions& options);

/// What went through the model, for headers, logs and metrics.
void report_texts(Call& call, std::string_view task, std::span<const std::string_view> texts);
void report_pairs(Call& call, std::string_view task, std::span<const RerankRequest> pairs);

Answer answer_of(const Call& call);
Response json_response(std::string body);

/// x-compute-type and the other headers that TEI's clients read, in whole milliseconds, and
/// Server-Timing with fractions. None where no model ran.
void add_timings(Response& response, const Call& call);

}  // namespace tamis::server
