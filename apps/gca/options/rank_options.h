#pragma once
// The subcommands that share their work among ranks (docs/distributed.md), and what they have in common.

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace gca::app {

/// Of memory only build, of tokenize all but --decode.
inline const std::vector<std::string> kSharingCommands = {"pretrain", "eval", "tokenize", "memory"};

/// Does this command line run one of them?
bool shares_work(const std::vector<std::string>& command_line);

/// How long a rank waits for a message of another.
inline constexpr int kTrainingTimeoutSeconds = 600;
inline constexpr int kSharingTimeoutSeconds = 3600;  ///< pieces of work may take long, and differ

/// --timeout, whose default is the value of `timeout_seconds`.
void add_timeout_option(CLI::App& command, int& timeout_seconds);

/// Throws Error(usage) where this process is one of several ranks: "`what`: is not shared among ranks".
void refuse_ranks(const std::string& what);

}  // namespace gca::app
