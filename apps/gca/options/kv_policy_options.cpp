#include "apps/gca/options/kv_policy_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/gca/help/command_words.h"
#include "apps/gca/options/common_options.h"
#include "lib/core/error.h"

namespace gca::app {
namespace {

constexpr const char* kGroup = "Cache policy";

/// A setting, and the policies that look at it.
struct Flag {
  const char* name;
  std::vector<std::string> policies;
};

const std::vector<Flag>& flags() {
  static const std::vector<Flag> all = {
      {"--kv-dtype", model::kv_policy_names()},
      {"--question-tokens", model::kv_policy_names()},
      {"--kv-window", {"window", "sink"}},
      {"--kv-sinks", {"sink"}},
      {"--prefix-tokens", {"squeezed"}},
      {"--prefix-cache", {"squeezed"}},
      {"--squeezed-sinks", {"squeezed"}},
      {"--squeezed-clusters", {"squeezed"}},
      {"--squeezed-quantile", {"squeezed"}},
      {"--squeezed-observed", {"squeezed"}},
      {"--squeezed-coarse-clusters", {"squeezed"}},
      {"--squeezed-coarse-quantile", {"squeezed"}},
      {"--recycled-rows", {"recycled"}},
      {"--recycled-stride", {"recycled"}},
      {"--recycled-similarity", {"recycled"}},
      {"--recycled-pool", {"recycled"}},
      {"--citrus", {"citrus"}},
      {"--citrus-chunk", {"citrus"}},
      {"--citrus-kept", {"citrus"}},
      {"--instruction-tokens", {"citrus"}},
      {"--instruction-file", {"citrus"}},
  };
  return all;
}

void add_share(CLI::App& command, const std::string& name, double& value, const std::string& help) {
  command.add_option(name, value, with_default(help, value))->type_name("F")->group(kGroup);
}

void add_count(CLI::App& command, const std::string& name, int64_t& value, const std::string& help) {
  add_size_option(command, name, value, with_default(help, value))->group(kGroup);
}

}  // namespace

void add_kv_policy_settings(CLI::App& command, model::KvPolicy& policy) {
  add_count(command, "--kv-window", policy.window, "window, sink: last tokens that are read");
  add_count(command, "--kv-sinks", policy.sinks, "sink: first tokens that are read, too");
  add_count(command, "--squeezed-sinks", policy.squeezed_sinks,
            "squeezed: first tokens that are read whatever their cluster");
  add_share(command, "--squeezed-clusters", policy.cluster_fraction,
            "squeezed: clusters a token of the prefix");
  add_share(command, "--squeezed-quantile", policy.quantile,
            "squeezed: share of the prefix's keys to leave out");
  add_count(command, "--squeezed-observed", policy.observed,
            "squeezed: last tokens of the prefix, whose queries set the threshold");
  add_share(command, "--squeezed-coarse-clusters", policy.coarse_fraction,
            "squeezed: coarse clusters a token of the prefix; 0: one level");
  add_share(command, "--squeezed-coarse-quantile", policy.coarse_quantile,
            "squeezed: share of the keys that coarse clusters leave out");
  add_size_option(command, "--recycled-rows", policy.recycled_rows,
                  "recycled: tokens of the short list (default: an eighth of the prompt)")
      ->group(kGroup);
  add_count(command, "--recycled-stride", policy.stride, "recycled: one token in so many may read all");
  add_share(command, "--recycled-similarity", policy.similarity,
            "recycled: it does where its query is no more similar to the last such; 1: always");
  add_count(command, "--recycled-pool", policy.pool, "recycled: neighbours over which scores are pooled");
  command
      .add_option(
          "--citrus", policy.citrus_mode,
          with_default("citrus: what chooses the rows to keep: single, dual or standard", policy.citrus_mode))
      ->check(CLI::IsMember({"single", "dual", "standard"}))
      ->type_name("NAME")
      ->group(kGroup);
  add_count(command, "--citrus-chunk", policy.chunk, "citrus: tokens of a chunk of the context");
  add_count(command, "--citrus-kept", policy.kept, "citrus: rows kept of what was read before");
}

void add_kv_dtype_option(CLI::App& command, TensorOptions& options) {
  command
      .add_option(
          "--kv-dtype", options.kv_dtype,
          with_default(
              "Type of the keys and values that full attention keeps: fp32 or bf16, where that is the "
              "type of --dtype; int8, with one scale per row and head, half the bytes of bf16; or auto, "
              "the type of --dtype",
              options.kv_dtype))
      ->check(CLI::IsMember({"auto", "fp32", "bf16", "int8"}))
      ->type_name("NAME")
      ->group(kGroup);
}

model::KvDtype kv_dtype_of(const TensorOptions& options) {
  return resolved_kv_dtype(options) == "int8" ? model::KvDtype::int8 : model::KvDtype::compute;
}

void add_kv_policies_option(CLI::App& command, std::vector<std::string>& policies, const std::string& help) {
  command
      .add_option("--kv-policy", policies,
                  help + ": " + joined(model::kv_policy_names(), ", ") + "; one or more")
      ->delimiter(',')
      ->check(CLI::IsMember(model::kv_policy_names()))
      ->type_name("NAME,...")
      ->group(kGroup);
}

void add_question_tokens_option(CLI::App& command, int64_t& tokens) {
  add_count(
      command, "--question-tokens", tokens,
      "Tokens before the answer that ask for it: what follows the prefix of squeezed, and the instruction of "
      "citrus");
}

void add_kv_policy_options(CLI::App& command, KvPolicyOptions& options) {
  model::KvPolicy& policy = options.policy;
  command
      .add_option(
          "--kv-policy", policy.name,
          with_default("Which keys and values of full attention are kept and read: full, window, sink, "
                       "squeezed, recycled or citrus",
                       policy.name))
      ->check(CLI::IsMember(model::kv_policy_names()))
      ->type_name("NAME")
      ->group(kGroup);
  add_kv_policy_settings(command, policy);
  add_size_option(command, "--prefix-tokens", options.prefix_tokens,
                  "squeezed: first tokens of the prompt, a fixed text that many inputs follow")
      ->group(kGroup);
  command
      .add_option(
          "--prefix-cache", options.prefix_cache,
          "squeezed: file that keeps the prefix and its clusters; read where it is there, else written")
      ->type_name("FILE")
      ->group(kGroup);
  CLI::Option* tokens =
      add_size_option(command, "--instruction-tokens", options.instruction_tokens,
                      "citrus: last tokens of the prompt, which say what is wanted of the rest");
  tokens->group(kGroup);
  command
      .add_option("--instruction-file", options.instruction_file,
                  "citrus: file with the text that says it, read after the prompt")
      ->type_name("FILE")
      ->group(kGroup)
      ->excludes(tokens);
}

void check_kv_policy_settings(const CLI::App& command, std::span<const std::string> names,
                              const model::KvPolicy& settings) {
  for (const Flag& flag : flags()) {
    const CLI::Option* given = command.get_option_no_throw(flag.name);
    if (given == nullptr || given->count() == 0) continue;
    const bool is_read = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return std::find(flag.policies.begin(), flag.policies.end(), name) != flag.policies.end();
    });
    if (!is_read)
      fail_usage(flag.name,
                 names.empty() ? "has no meaning without --kv-policy"
                               : fmt::format("has no meaning for --kv-policy {}", fmt::join(names, ",")),
                 "leave it out, or give --kv-policy " + flag.policies.front());
  }
  for (const std::string& name : names) named(settings, name).validate("--kv-policy " + name);
}

model::KvPolicy named(model::KvPolicy settings, const std::string& name) {
  settings.name = name;
  return settings;
}

void check_kv_policy_options(const CLI::App& command, const KvPolicyOptions& options) {
  const std::string& name = options.policy.name;
  check_kv_policy_settings(command, {&name, 1}, options.policy);
  if (options.prefix_tokens < 0 || options.instruction_tokens < 0)
    fail_usage(options.prefix_tokens < 0 ? "--prefix-tokens" : "--instruction-tokens", "is below 0",
               "give 1 or more");
  const CLI::Option* kept = command.get_option_no_throw("--load-memory");
  const bool goes_on = kept != nullptr && kept->count() > 0;
  if (name == "citrus" && !goes_on && options.instruction_tokens == 0 && options.instruction_file.empty())
    fail_usage("--kv-policy citrus", "without an instruction",
               "give --instruction-tokens N or --instruction-file FILE");
}

}  // namespace gca::app
