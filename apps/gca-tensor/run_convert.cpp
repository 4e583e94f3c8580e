// gca convert: a checkpoint some of whose attention heads are made recurrent.

#include <ATen/ops/tensor.h>

#include <fmt/format.h>
#include <algorithm>

#include "apps/gca-tensor/checkpoint_copy.h"
#include "apps/gca/options/convert_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/data/token_shard.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/model/recurformer_conversion.h"
#include "lib/model/text_model.h"
#include "lib/text/tokenizer_file.h"
#include "lib/train/step/process_settings.h"

namespace gca::app {
namespace {

void check_options(const ConvertOptions& options) {
  if (!(options.recur_fraction >= 0 && options.recur_fraction <= 1))
    fail_usage(fmt::format("--recur-fraction {}", options.recur_fraction), "is no part of the heads",
               "give a number from 0 to 1");
  if (options.context < 0) fail_usage("--context", "is negative", "give 2 tokens or more");
  if (options.max_tokens < 2) fail_usage("--max-tokens", "is below 2", "give 2 or more");
}

/// Measures texts of `context` tokens, the last of a document maybe shorter, until there are enough; how many
/// tokens they had.
int64_t measure(const data::TokenStore& store, int64_t context, int64_t max_tokens,
                model::RecencyRatios& ratios) {
  int64_t measured = 0;
  for (size_t i = 0; i < store.documents().size(); ++i) {
    const int64_t size = store.documents()[i].tokens;
    for (int64_t first = 0; first < size && measured < max_tokens; first += context) {
      std::vector<int32_t> ids(static_cast<size_t>(std::min({context, size - first, max_tokens - measured})));
      store.read(static_cast<int64_t>(i), first, ids);
      ratios.add(at::tensor(ids).to(at::kLong).unsqueeze(0));
      measured += static_cast<int64_t>(ids.size());
    }
  }
  return measured;
}

/// Near attention of every head, a line an upper layer; recurrent heads have a star.
std::string table_of(const model::ModelConfig& config, const std::vector<double>& ratios) {
  std::string table = fmt::format("attention at distances below {}, by head\n", model::kNearDistance);
  for (int64_t layer = 0; layer < config.n_upper_layers; ++layer) {
    table += fmt::format("  upper layer {}", layer);
    for (int64_t head = 0; head < config.n_heads; ++head) {
      const int64_t number = layer * config.n_heads + head;
      const bool is_recurrent = std::find(config.recurrent_heads.begin(), config.recurrent_heads.end(),
                                          number) != config.recurrent_heads.end();
      table += fmt::format("  {:.3f}{}", ratios[static_cast<size_t>(number)], is_recurrent ? "*" : " ");
    }
    table += "\n";
  }
  return table + "* recurrent\n";
}

}  // namespace

void run_convert(const ConvertOptions& options) {
  check_options(options);
  train::use_threads(thread_count(options.common));
  JsonReport report = begin_report("convert", options.common);
  const std::string output = claim_new_folder(options.output);
  const model::TextModel source = model::TextModel::open(options.input, "fp32");
  const model::ModelConfig config = model::full_attention_config(source.model.config(), options.input);
  const data::TokenStore store = data::TokenStore::open(options.calibrate);
  source.require_tokenizer(store.tokenizer_fingerprint(), options.calibrate);
  const int64_t context = options.context > 0 ? options.context : source.trained_context;
  if (context < 2)
    fail_usage("--context", "is missing, and the checkpoint does not say what it was trained with",
               "give one, such as --context 2K");

  const model::LanguageModel base = model::with_weights_of(source.model, config);
  model::RecencyRatios meter(base);
  const int64_t measured = measure(store, context, options.max_tokens, meter);
  if (measured == 0) fail_usage(options.calibrate, "holds no tokens", "give texts to measure attention on");
  const std::vector<double> ratios = meter.ratios();
  const std::vector<int64_t> heads = model::most_recent_heads(ratios, options.recur_fraction);
  const model::LanguageModel converted = model::with_recurrent_heads(base, heads, options.common.seed);
  std::vector<std::string> copied;
  replace_folder_atomically(output, [&](const std::string& aside) {
    model::save_model(converted, aside, sha256_hex(read_file(text::find_tokenizer_file(source.folder))));
    copied = copy_tokenizer(source.folder, aside);
  });

  report.config = {{"input", options.input},
                   {"output", options.output},
                   {"recur_fraction", options.recur_fraction},
                   {"calibrate", options.calibrate},
                   {"context", context},
                   {"max_tokens", options.max_tokens},
                   {"model", model::model_config_to_json(converted.config())}};
  report.result = {{"parameters", converted.parameter_count()},
                   {"tokens", measured},
                   {"near_attention", ratios},
                   {"recurrent_heads", heads},
                   {"copied", copied}};
  finish_report(report, options.common, "",
                table_of(converted.config(), ratios) +
                    fmt::format("{}: {} of {} heads recurrent, {} parameters\n", output, heads.size(),
                                ratios.size(), converted.parameter_count()));
}

}  // namespace gca::app
