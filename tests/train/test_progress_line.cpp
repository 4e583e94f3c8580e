#include "lib/train/progress/progress_line.h"

#include <doctest/doctest.h>

using gca::train::Progress;
using gca::train::progress_text;

TEST_CASE("The progress line tells the passes over each data set, where there is one") {
  Progress progress{120, 2000, 983000, {}, 5.1234, 4100, 754};
  CHECK(progress_text(progress) == "step 120/2000  tokens 983K  loss 5.1234  4.1K tokens/s  12:34 left");
  progress.passes = {1.25};
  CHECK(progress_text(progress) ==
        "step 120/2000  tokens 983K  passes 1.25  loss 5.1234  4.1K tokens/s  12:34 left");
  progress.passes = {1.25, 0.4};
  CHECK(progress_text(progress).find("passes 1.25, 0.40  loss") != std::string::npos);
}
