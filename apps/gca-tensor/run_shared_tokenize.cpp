// gca tokenize as one of several ranks, which talk by LibTorch.

#include "apps/gca-tensor/ranks.h"
#include "apps/gca/commands/tokenize.h"
#include "apps/gca/tensor_stages.h"
#include "lib/parallel/agreement.h"

namespace gca::app {

void run_shared_tokenize(const TokenizeOptions& given) {
  as_rank(given.timeout_seconds, [&](parallel::Communicator* communicator) {
    require_same_command(communicator);
    TokenizeOptions options = given;
    TokenizeRanks ranks;
    ranks.is_writer = is_writer(communicator);
    if (!ranks.is_writer) be_silent(options.common);
    ranks.together = [&](const std::function<void()>& work) {
      parallel::succeed_together(communicator, work);
    };
    ranks.of_writer = [&](const std::function<std::string()>& make) {
      std::string made;
      parallel::succeed_together(communicator, [&] {
        if (ranks.is_writer) made = make();
      });
      return communicator == nullptr ? made : communicator->all_gather_text(made, "the vocabulary").front();
    };
    if (communicator != nullptr) {
      communicator->begin_stage("tokenize", "start all ranks again");
      ranks.share.rank = communicator->rank();
      ranks.share.ranks = communicator->size();
      ranks.share.gather = [communicator](const std::function<std::string()>& work) {
        return parallel::gather_results(*communicator, work, "token ids");
      };
    }
    tokenize(options, ranks);
  });
}

}  // namespace gca::app
