#include "lib/bench/speed.h"

#include <doctest/doctest.h>

namespace {

gca::model::ModelConfig tiny_config(const std::string& long_range) {
  gca::model::ModelConfig config;
  config.vocab_size = 50;
  config.d_model = 32;
  config.n_heads = config.n_kv_heads = 2;
  config.n_lower_layers = config.n_upper_layers = 2;
  config.n_encoder_layers = 1;
  config.window_size = 16;
  config.chunk_size = 8;
  config.chunk_top_k = 2;
  config.long_range = long_range;
  return config;
}

gca::model::LanguageModel tiny_model(const std::string& long_range) {
  gca::model::LanguageModel model(tiny_config(long_range), at::kFloat);
  model.initialise(1);
  model.refresh_compute_weights();
  return model;
}

double matrix_bytes(const gca::model::LanguageModel& model, const std::string& part) {
  double bytes = 0;
  for (const gca::model::Weight& weight : model.weights())
    if (weight.name.starts_with(part) && weight.master.dim() == 2)
      bytes += static_cast<double>(weight.master.nbytes());
  return bytes;
}

double decoding_bytes(const gca::model::LanguageModel& model, int64_t context) {
  return model.decoding_bytes_per_token(context);
}

}  // namespace

TEST_CASE("decoding reads every matrix of the decoder once, and the windows' keys and values") {
  const gca::model::LanguageModel model = tiny_model("none");
  const double windows = 4.0 * 2 * 16 * 32 * sizeof(float);
  CHECK(decoding_bytes(model, 1000) == doctest::Approx(matrix_bytes(model, "") + windows));
  const double short_windows = 4.0 * 2 * 5 * 32 * sizeof(float);
  CHECK(decoding_bytes(model, 5) == doctest::Approx(matrix_bytes(model, "") + short_windows));
}

TEST_CASE("decoding reads K chunks an upper layer, and encoder and landmarks once a chunk") {
  const gca::model::LanguageModel model = tiny_model("gca");
  constexpr int64_t kChunks = 10;
  const double once_a_chunk =
      matrix_bytes(model, "enc.") + matrix_bytes(model, "mem.") + kChunks * 32.0 * sizeof(int8_t);
  const double each_time =
      matrix_bytes(model, "") - matrix_bytes(model, "enc.") - matrix_bytes(model, "mem.");
  const double windows = 4.0 * 2 * 16 * 32 * sizeof(float);
  const double chunks = 2.0 * 2 * 2 * 7 * 32 * sizeof(float);
  CHECK(decoding_bytes(model, kChunks * 7) ==
        doctest::Approx(each_time + windows + chunks + once_a_chunk / 7));
}

TEST_CASE("decoding with int8 weights reads a byte a weight and a scale a row of them") {
  gca::model::LanguageModel model(tiny_config("none"), at::kFloat, at::kCPU, gca::model::WeightDtype::int8);
  const double windows = 4.0 * 2 * 16 * 32 * sizeof(float);
  double matrices = 0;
  for (const gca::model::Weight& weight : model.weights())
    if (weight.int8.defined())
      matrices += static_cast<double>(weight.int8.q.nbytes() + weight.int8.scale.nbytes());
  CHECK(decoding_bytes(model, 1000) == doctest::Approx(matrices + windows));

  gca::model::LanguageModel with_memory(tiny_config("gca"), at::kFloat, at::kCPU,
                                        gca::model::WeightDtype::int8);
  double saved = 0;
  for (const gca::model::Weight& weight : with_memory.weights()) {
    if (!weight.int8.defined()) continue;
    const bool once_a_chunk = weight.name.starts_with("enc.") || weight.name.starts_with("mem.");
    saved +=
        static_cast<double>(weight.master.nbytes() - weight.int8.q.nbytes() - weight.int8.scale.nbytes()) /
        (once_a_chunk ? 7 : 1);
  }
  CHECK(decoding_bytes(tiny_model("gca"), 70) - decoding_bytes(with_memory, 70) == doctest::Approx(saved));
}

TEST_CASE("speed: tokens, positions and work are those of one run") {
  gca::model::LanguageModel model = tiny_model("gca");
  gca::train::TrainConfig train;
  train.batch = 2;
  gca::profile::OperatorProfile profile;
  const gca::bench::SpeedSettings settings{
      .context = 70, .repeats = 2, .seed = 4, .decoded_tokens = 14, .profile = &profile};
  const gca::bench::SpeedResult training = gca::bench::measure_training(model, train, settings);
  CHECK(training.tokens == 140);
  CHECK(training.positions == 160);
  CHECK(training.flops == doctest::Approx(3 * 140 * model.cost(70).forward_flops()));
  CHECK(training.median_seconds > 0);
  int64_t updates = 0;
  for (const gca::profile::OperatorTime& time : profile.operators())
    if (time.name == "gca::adamw_step") updates = time.calls;
  CHECK(updates == 2);

  const gca::bench::SpeedResult prefill = gca::bench::measure_prefill(model, false, settings);
  const gca::bench::SpeedResult scoring = gca::bench::measure_prefill(model, true, settings);
  CHECK(prefill.tokens == 70);
  CHECK(scoring.flops - prefill.flops == doctest::Approx(70.0 * 2 * 50 * 32));
  const gca::bench::SpeedResult decoding = gca::bench::measure_decoding(model, settings);
  CHECK(decoding.tokens == 14);
  CHECK(decoding.positions == 16);
  CHECK(decoding.bytes == doctest::Approx(14 * decoding_bytes(model, 70)));
}
