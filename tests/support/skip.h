#pragma once
// For cases that a machine cannot run: ctest shows them as skipped (SKIP_REGULAR_EXPRESSION,
// tests/CMakeLists.txt).

#include <doctest/doctest.h>

#define SKIP_TEST(why)                  \
  do {                                  \
    MESSAGE("TEST_SKIPPED: " << (why)); \
    return;                             \
  } while (false)
