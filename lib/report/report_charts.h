#pragma once
// What the charts of a report page show, as data: the page draws them (report_page.html).

#include <nlohmann/json.hpp>
#include <span>

#include "lib/report/run_groups.h"

namespace gca::report {

/// The charts of what there is, in this order: losses by tokens, perplexity by context, loss by position of
/// the longest context, and for each task accuracy by context and a map of accuracy by context and depth for
/// each group and retriever. Two kinds:
///   {"title", "x": {"title", "is_log2"}, "y": {"title"},
///    "series": [{"label", "group", "is_single_run", "is_dashed", "has_marks", "points": [[x, y], ...]}]}
///   {"title", "columns": {"title", "labels"}, "rows": {"title", "labels"},
///    "cells": [[{"share", "hint"} or null, ...], ...]}   by row; shares are 0 to 1
/// Numbers that are not known are left out.
nlohmann::json report_charts(std::span<const RunGroup> groups);

}  // namespace gca::report
