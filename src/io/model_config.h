#pragma once

// What the small JSON files of a model directory say. No judgement here about which models the
// engine can run, nor about tensors: only what no model could mean is refused.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tamis::io {

/// config.json of an encoder model, as transformers writes it. Integers lie in [1, 2^30], unless
/// said otherwise.
struct ModelConfig {
  std::string model_type;                  ///< "xlm-roberta"
  std::vector<std::string> architectures;  ///< "XLMRobertaForSequenceClassification"; may be empty
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;  ///< divides hidden_size
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  int64_t type_vocab_size = 0;  ///< 0: the model has no token types
  std::string hidden_act;       ///< "gelu"
  double layer_norm_eps = 0;    ///< in (0, 1)
  int64_t pad_token_id = 0;     ///< in [0, vocab_size)
  // What training alone reads; the defaults are transformers'.
  double hidden_dropout_prob = 0.1;           ///< in [0, 1)
  double attention_probs_dropout_prob = 0.1;  ///< in [0, 1)
  double classifier_dropout = 0.1;      ///< in [0, 1); hidden_dropout_prob if the file has none
  double initializer_range = 0.02;      ///< in (0, 1)
  std::string position_embedding_type;  ///< "absolute" if the file does not say
  /// Names of the outputs of a classification head, by index: id2label, else num_labels times
  /// "LABEL_<i>". Empty if the file has neither (transformers then takes two for granted).
  std::vector<std::string> labels;
};

/// Errors: not_found (no directory or no config.json; says what a model directory needs),
/// data_loss (a key is missing or its value absurd: all of them in one message, each with
/// expected and got), unavailable (cannot be read).
ModelConfig read_model_config(const std::filesystem::path& directory);

/// modules.json of sentence-transformers and the files that it leads to.
struct SentenceTransformersConfig {
  bool present = false;  ///< false: no modules.json, everything else has its default
  /// "cls", "mean", "max", "last", "mean_sqrt_len", "weightedmean" or a name unknown here; several
  /// that are concatenated are joined as "cls+mean". Empty if there is no Pooling module.
  std::string pooling;
  bool normalize = false;      ///< a Normalize module is there
  int64_t max_seq_length = 0;  ///< 0: not limited by these files
  bool do_lower_case = false;
  /// Kinds of modules that change the vectors and that this struct has no word for ("Dense").
  std::vector<std::string> unsupported_modules;
};

/// Errors: data_loss (as above, or a module path that leads out of the directory), not_found (a
/// file that modules.json refers to), unavailable.
SentenceTransformersConfig read_sentence_transformers_config(
    const std::filesystem::path& directory);

}  // namespace tamis::io
