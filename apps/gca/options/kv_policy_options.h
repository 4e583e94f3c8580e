#pragma once
// --kv-policy and its settings, of the subcommands that run a model with full attention.

#include <CLI/App.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"
#include "lib/model/kv_cache/kv_policy.h"

namespace gca::app {

struct KvPolicyOptions {
  model::KvPolicy policy;
  int64_t prefix_tokens = 0;
  std::string prefix_cache;
  int64_t instruction_tokens = 0;
  std::string instruction_file;
};

/// The settings of all policies.
void add_kv_policy_settings(CLI::App& command, model::KvPolicy& policy);

/// --kv-dtype
void add_kv_dtype_option(CLI::App& command, TensorOptions& options);
/// What it says. Throws Error(usage) where --dtype does not go with it.
model::KvDtype kv_dtype_of(const TensorOptions& options);

/// --kv-policy of several side by side.
void add_kv_policies_option(CLI::App& command, std::vector<std::string>& policies, const std::string& help);

/// --question-tokens, of texts whose end asks about the rest.
void add_question_tokens_option(CLI::App& command, int64_t& tokens);

/// Throws Error(usage) where a setting has no meaning for any of the policies `names`, or is out of range.
void check_kv_policy_settings(const CLI::App& command, std::span<const std::string> names,
                              const model::KvPolicy& settings);

/// One policy, its settings, and what generation reads by it.
void add_kv_policy_options(CLI::App& command, KvPolicyOptions& options);

/// Throws Error(usage) where a setting is given that the policy does not look at, and where one that it needs is
/// missing.
void check_kv_policy_options(const CLI::App& command, const KvPolicyOptions& options);

/// `settings` with another name.
model::KvPolicy named(model::KvPolicy settings, const std::string& name);

}  // namespace gca::app
