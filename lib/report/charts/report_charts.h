#pragma once
// What the charts of a report page show, as data: the page draws them (lib/report/page).

#include <nlohmann/json.hpp>

#include "lib/report/runs/comparison.h"

namespace gca::report {

/// The charts of what there is, by section: loss over training, retrieval, by context, by position, tasks,
/// speed. Two kinds:
///   {"section", "title", "unit", "x": "training" or "size", "x_title" (of sizes), "skips_start", "smooths",
///    "series": [{"group", "line", "is_single_run", "points"}]}
///     points: [[step, tokens, minutes or null, y], ...] over training, [[x, y], ...] over sizes
///   {"section", "title", "group", "line", "columns": {"title", "labels"}, "rows": {"title", "labels"},
///    "cells": [[{"share", "hint"} or null, ...], ...]}   by row; shares are 0 to 1
/// "group" is the number of a group, "line" a retriever or empty. Numbers that are not known are left out; y
/// and minutes have six digits.
nlohmann::json report_charts(const Comparison& comparison);

}  // namespace gca::report
