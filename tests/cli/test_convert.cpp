// gca convert: heads of a trained checkpoint made recurrent, through the binary.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "lib/core/files/atomic_file.h"
#include "lib/core/files/safetensors_file.h"
#include "tests/cli/nano_run.h"
#include "tests/cli/report_of.h"

namespace {

double loss_of(const NanoRun& run, const std::string& checkpoint) {
  return report_of({"eval", run.book(), "--checkpoint", checkpoint, "--context", "64", "--dtype", "fp32",
                    "--max-tokens", "2K"},
                   "eval")["contexts"][0]["loss"];
}

std::vector<float> floats_of(const gca::SafetensorsFile& file, const std::string& name) {
  const gca::SafetensorsEntry& entry = file.at(name);
  const auto* data = reinterpret_cast<const float*>(entry.data);
  return {data, data + entry.size_bytes / sizeof(float)};
}

}  // namespace

TEST_CASE("convert: nearest heads become Mamba, the others stay, and training goes on" *
          doctest::test_suite("slow")) {
  const NanoRun run({"long_range=none", "num_attention_heads=4", "alibi_slopes=[]", "num_upper_layers=2"});
  const auto convert = [&](const std::string& fraction, const std::string& output) {
    return report_of({"convert", run.checkpoint(), "--output", run / output, "--recur-fraction", fraction,
                      "--calibrate", run.tokens(), "--max-tokens", "2K"},
                     "convert");
  };

  // Without recurrent heads texts within the window (64) are read as before.
  const auto none = convert("0", "none");
  CHECK(none["recurrent_heads"].empty());
  CHECK(none["tokens"] == 2048);
  CHECK(std::abs(loss_of(run, run / "none") - loss_of(run, run.checkpoint())) <= 1e-5);

  const auto half = convert("0.375", "half");
  const auto ratios = half["near_attention"].get<std::vector<double>>();
  const auto heads = half["recurrent_heads"].get<std::vector<size_t>>();
  REQUIRE(ratios.size() == 8);
  REQUIRE(heads.size() == 3);
  CHECK(std::is_sorted(heads.begin(), heads.end()));
  for (size_t head = 0; head < ratios.size(); ++head) {
    CHECK(ratios[head] > 0);
    CHECK(ratios[head] <= 1.000001);
    const bool is_recurrent = std::find(heads.begin(), heads.end(), head) != heads.end();
    const auto larger =
        std::count_if(ratios.begin(), ratios.end(), [&](double r) { return r > ratios[head]; });
    CHECK((larger < 3) == is_recurrent);
  }

  // What is taken over: value rows of the replaced heads into the input, query rows of the others.
  const gca::SafetensorsFile before(run.checkpoint() + "/model.safetensors");
  const gca::SafetensorsFile after(run / "half/model.safetensors");
  const size_t head_size = 16 * 64;  // dh d
  for (size_t layer = 0; layer < 2; ++layer) {
    const std::string prefix = "upper." + std::to_string(layer);
    std::vector<float> expected_in, expected_wq;
    for (size_t head = 0; head < 4; ++head) {
      const bool is_recurrent = std::find(heads.begin(), heads.end(), layer * 4 + head) != heads.end();
      const std::vector<float> rows = floats_of(before, prefix + (is_recurrent ? ".attn.wv" : ".attn.wq"));
      std::vector<float>& to = is_recurrent ? expected_in : expected_wq;
      to.insert(to.end(), rows.begin() + static_cast<std::ptrdiff_t>(head * head_size),
                rows.begin() + static_cast<std::ptrdiff_t>((head + 1) * head_size));
    }
    if (!expected_wq.empty()) CHECK(floats_of(after, prefix + ".attn.wq") == expected_wq);
    if (expected_in.empty()) continue;
    std::vector<float> w_in = floats_of(after, prefix + ".mamba.w_in");
    w_in.resize(w_in.size() / 2);
    CHECK(w_in == expected_in);
  }
  CHECK(floats_of(after, "upper.1.mlp.w_up") == floats_of(before, "upper.1.mlp.w_up"));

  NanoRun::must_run({"pretrain", "--data", run.sequences(), "--config", "nano", "--config",
                     run / "half/config.json", "--init", run / "half", "--output", run / "on", "--steps", "2",
                     "--set", "context=256"});
  CHECK(loss_of(run, run / "on") > 0);
}

TEST_CASE("convert: what cannot be converted is refused") {
  const NanoRun gca_run;
  const auto words = [&](const std::string& fraction, const std::string& calibrate) {
    return std::vector<std::string>{
        "convert", gca_run.checkpoint(), "--output", gca_run / "out", "--recur-fraction",
        fraction,  "--calibrate",        calibrate};
  };
  check_refused(words("0.5", gca_run.tokens()), "is a model with long_range gca");
  check_refused(words("1.5", gca_run.tokens()), "--recur-fraction 1.5");
  std::vector<std::string> there = words("0.5", gca_run.tokens());
  there[3] = gca_run.tokens();
  check_refused(there, "is there already");
}
