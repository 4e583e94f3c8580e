#include "lib/train/settings/lr_schedule.h"

#include <doctest/doctest.h>

#include "lib/train/settings/train_config.h"
#include "tests/support/error_of.h"

using gca::train::LearningRateSchedule;
using gca::train::make_schedule;
using gca::train::ScheduleKind;

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

TEST_CASE("wsd is at its peak until the decay, which is a line to the floor") {
  const LearningRateSchedule schedule{.kind = ScheduleKind::wsd,
                                      .peak = 1.0,
                                      .floor = 0.2,
                                      .warmup_steps = 2,
                                      .total_steps = 12,
                                      .decay_steps = 4};
  const double expected[] = {0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2};
  for (int64_t step = 0; step < 14; ++step) {
    CAPTURE(step);
    CHECK(std::abs(schedule.at(step) - expected[step]) <= 1e-12);
  }
  // A decay longer than what is left after the warm-up is all that there is.
  LearningRateSchedule short_one = schedule;
  short_one.total_steps = 4;
  CHECK(short_one.at(1) == 1.0);
  CHECK(short_one.at(2) == 1.0);
  CHECK(std::abs(short_one.at(3) - 0.6) <= 1e-12);
}

TEST_CASE("constant stays at its peak") {
  const LearningRateSchedule schedule{
      .kind = ScheduleKind::constant, .peak = 0.5, .floor = 0.1, .warmup_steps = 2, .total_steps = 4};
  CHECK(schedule.at(0) == 0.25);
  for (const int64_t step : {1, 2, 3, 4, 1000}) CHECK(schedule.at(step) == 0.5);
}

TEST_CASE("The schedule of a run is that of its settings") {
  gca::train::TrainConfig config;
  config.learning_rate = 1.0;
  config.min_learning_rate = 0.5;
  config.warmup_fraction = 0.1;
  CHECK(make_schedule(config, 40).kind == ScheduleKind::cosine);
  config.schedule = "wsd";
  config.decay_fraction = 0.25;
  const LearningRateSchedule by_parts = make_schedule(config, 40);
  CHECK(by_parts.kind == ScheduleKind::wsd);
  CHECK(by_parts.warmup_steps == 4);
  CHECK(by_parts.decay_steps == 10);
  config.decay_steps = 3;
  config.schedule_steps = 20;
  CHECK(make_schedule(config, 40).decay_steps == 3);
  CHECK(make_schedule(config, 40).total_steps == 20);
  CHECK(make_schedule(config, 40).warmup_steps == 2);
  config.schedule = "constant";
  CHECK(make_schedule(config, 40).kind == ScheduleKind::constant);
  config.schedule = "cosin";
  const auto error = error_of([&] { config.validate("--set"); });
  REQUIRE(error);
  CHECK(error->says("did you mean \"cosine\"?"));
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
