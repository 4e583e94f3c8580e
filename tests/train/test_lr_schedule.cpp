#include "lib/train/lr_schedule.h"

#include <doctest/doctest.h>

#include "lib/train/train_config.h"

using gca::train::LearningRateSchedule;

TEST_CASE("The learning rate warms up in a line and falls by half a cosine") {
  const LearningRateSchedule schedule{.peak = 1.0, .floor = 0.2, .warmup_steps = 4, .total_steps = 12};
  const auto is = [&](int64_t step, double expected) {
    CAPTURE(step);
    CHECK(std::abs(schedule.at(step) - expected) <= 1e-12);
  };
  is(0, 0.25);
  is(1, 0.5);
  is(3, 1.0);
  is(4, 1.0);                               // the cosine begins: cos(0)
  is(6, 0.2 + 0.4 * (1 + std::sqrt(0.5)));  // cos(pi / 4)
  is(8, 0.6);                               // half way
  is(10, 0.2 + 0.4 * (1 - std::sqrt(0.5)));
  is(12, 0.2);
  is(1000, 0.2);
}

TEST_CASE("A schedule that is all warm-up, or has none, is defined everywhere") {
  const LearningRateSchedule all_warmup{.peak = 1.0, .floor = 0.5, .warmup_steps = 3, .total_steps = 3};
  CHECK(all_warmup.at(2) == 1.0);
  CHECK(all_warmup.at(3) == 0.5);
  const LearningRateSchedule no_warmup{.peak = 1.0, .floor = 0.0, .warmup_steps = 0, .total_steps = 2};
  CHECK(no_warmup.at(0) == 1.0);
  CHECK(std::abs(no_warmup.at(1) - 0.5) <= 1e-12);
}

TEST_CASE("The residual blend goes from its start to the model's own in a line") {
  gca::train::TrainConfig config;
  CHECK(config.residual_blend_at(0, 0.25) == 0.25);  // no schedule
  config.residual_blend_start = 1.0;
  config.residual_blend_begin = 10;
  config.residual_blend_end = 20;
  CHECK(config.residual_blend_at(0, 0.0) == 1.0);
  CHECK(config.residual_blend_at(10, 0.0) == 1.0);
  CHECK(std::abs(config.residual_blend_at(15, 0.0) - 0.5) <= 1e-12);
  CHECK(config.residual_blend_at(20, 0.0) == 0.0);
  CHECK(config.residual_blend_at(99, 0.0) == 0.0);
}
