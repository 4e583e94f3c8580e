#include "apps/gca-tensor/ranks.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/rank_options.h"
#include "apps/gca/tensor_stages.h"
#include "apps/gca/version.h"
#include "lib/core/error.h"
#include "lib/core/interrupted.h"
#include "lib/parallel/agreement.h"
#include "lib/parallel/failure_note.h"
#include "lib/parallel/open_communicator.h"

namespace gca::app {
namespace {

/// Whether this process has met the others, or has tried to.
bool g_has_met = false;

/// The first message between ranks: what each has to tell before there is any work. Empty, or the exit status and the
/// line of the error that ends it.
std::vector<std::string> greet(parallel::Communicator& ranks, const std::string& error) {
  return ranks.all_gather_text(error, "whether all can begin");
}

}  // namespace

void as_rank(int timeout_seconds, const std::function<void(parallel::Communicator* ranks)>& work) {
  g_has_met = true;
  std::unique_ptr<parallel::Communicator> ranks = parallel::open_communicator(
      parallel::rank_environment(), {.message = std::chrono::seconds(timeout_seconds)});
  try {
    if (ranks)
      for (const std::string& error : greet(*ranks, ""))
        if (!error.empty()) throw EndedWith(std::stoi(error));
    work(ranks.get());
  } catch (const parallel::FailedElsewhere& failure) {
    parallel::end_after_failure(std::move(ranks), failure.lost);
    throw EndedWith(static_cast<int>(failure.kind));
  } catch (const Interrupted&) {
    if (is_writer(ranks.get())) throw;
    throw EndedWith(kInterruptedStatus);
  } catch (const EndedWith&) {
    throw;
  } catch (const std::exception& error) {
    if (!ranks) throw;
    const auto* known = dynamic_cast<const Error*>(&error);
    const ErrorKind kind = known == nullptr ? ErrorKind::failed : known->kind();
    const int lost = dynamic_cast<const parallel::LostRank*>(&error) == nullptr ? 0 : 1;
    const bool tells = parallel::leave_failure_note(*ranks, kind, lost);
    parallel::end_after_failure(std::move(ranks), lost);
    if (!tells) throw EndedWith(static_cast<int>(kind));
    throw;
  }
}

bool is_told_by_another_rank(const std::string& line, int status) {
  if (g_has_met || !shares_work(command_line())) return false;
  g_has_met = true;
  try {
    const std::unique_ptr<parallel::Communicator> ranks =
        parallel::open_communicator(parallel::rank_environment());
    if (!ranks) return false;
    const std::string own = std::to_string(status) + " " + line;
    const std::vector<std::string> all = greet(*ranks, own);
    return std::find(all.begin(), all.end(), own) - all.begin() < ranks->rank();
  } catch (const std::exception&) {  // the others did not come: this one tells what it knows
    return false;
  }
}

void require_same_command(parallel::Communicator* ranks) {
  if (ranks == nullptr) return;
  std::string words;
  for (size_t i = 1; i < command_line().size(); ++i) words += command_line()[i] + '\0';
  parallel::require_same(*ranks, {{"version of gca", program_version()}, {"command line", words}});
}

void be_silent(CommonOptions& options) {
  options.quiet = true;
  options.json = false;
  options.report_path.clear();
}

std::string memory_of_rank(const std::string& memory, const parallel::Communicator* ranks) {
  if (is_writer(ranks) || !memory.starts_with("file:")) return memory;
  return memory + "." + std::to_string(ranks->rank());
}

}  // namespace gca::app
