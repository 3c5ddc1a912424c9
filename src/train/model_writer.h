#pragma once

// Parameters as files: what state.cc shares with the writing of a model.

#include <string>
#include <vector>

#include "io/safetensors_writer.h"
#include "model/weights.h"
#include "train/parameters.h"

namespace tamis::training {

/// Where a model's directory has its adapters, in peft's form.
inline constexpr const char* kAdapterFile = "lora/adapter_model.safetensors";

/// Appends device memory, by the piece.
void append(io::SafetensorsWriter& writer, Stream& stream, const float* from, int64_t count);

/// The name of a parameter in the model that is written: a bare encoder that got a head becomes a
/// member of the model with the head.
std::string written_name(const Parameter& p, bool new_head, bool roberta);
/// Of an adapter or a head in kAdapterFile.
std::string adapter_name(const Parameter& p, bool new_head, bool roberta);

bool is_new_head(const HostModel& source, const ModelSpec& spec);

}  // namespace tamis::training
