#include "lib/train/progress/retrieval_diagnostics.h"

#include "tests/support/doctest.h"

#include <ATen/ops/tensor.h>
#include <cmath>

#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

TEST_CASE("Spread, entropy and distance of a choice worked out by hand") {
  // One text of four chunks, K = 2. Only c < t has meaning; the rest is poison.
  const float x = 1e30F;
  const at::Tensor r = at::tensor({x, x, x, x,         //
                                   5.F, x, x, x,       // one candidate: no choice
                                   1.F, 3.F, x, x,     // standard deviation 1
                                   0.F, 3.F, 6.F, x})  // sqrt(6)
                           .view({1, 4, 4});
  const at::Tensor idx = at::tensor({-1, -1, 0, -1, 1, 0, 2, 0}, at::kInt).view({1, 4, 2});
  const at::Tensor w = at::tensor({0.F, 0.F, 1.F, 0.F, 0.75F, 0.25F, 0.5F, 0.5F}).view({1, 4, 2});
  const train::GroupDiagnostics result = train::diagnose_retrieval(r, idx, w, 7);
  CHECK(std::abs(result.spread - (1.0 + std::sqrt(6.0)) / 2) <= 1e-6);
  const double entropy2 = -(0.75 * std::log(0.75) + 0.25 * std::log(0.25));
  CHECK(std::abs(result.entropy - (entropy2 + std::log(2.0)) / 2) <= 1e-6);
  // Distances in chunks from the reader t + 1: 2; 2, 3; 2, 4.
  CHECK(std::abs(result.mean_distance - 7 * (2 + 2 + 3 + 2 + 4) / 5.0) <= 1e-9);
}

TEST_CASE("A trainer looks at every group when asked, and looking changes nothing") {
  model::LanguageModel a = tiny_model(tiny_config()), b = tiny_model(tiny_config());
  train::Trainer looks(a, tiny_train_config(), copy_source(a.config()), 1, 4);
  train::Trainer does_not(b, tiny_train_config(), copy_source(b.config()), 1, 4);
  const train::StepResult seen = looks.make_step(0, 0, true);
  CHECK(seen.retrieval.size() == 2);
  for (const train::GroupDiagnostics& group : seen.retrieval) {
    CHECK(group.spread > 0.0);
    CHECK(group.entropy > 0.0);
    CHECK(group.mean_distance >= 2 * a.config().chunk_text_size());
  }
  CHECK(does_not.make_step(0, 0, false).retrieval.empty());
  CHECK(largest_change(a, copies_of_masters(b)) == 0.0);
}
