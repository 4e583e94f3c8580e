#include "lib/train/progress/progress_line.h"

#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <cmath>
#include <cstdio>

namespace gca::train {
namespace {

constexpr double kTerminalInterval_s = 0.2;
constexpr double kLogInterval_s = 10.0;

/// 983, 12.3K, 4.56M: three digits are enough to watch.
std::string short_count(double x) {
  if (!std::isfinite(x)) return "?";
  for (const char* suffix : {"", "K", "M", "G"}) {
    if (x < 1000.0) return fmt::format("{:.{}f}{}", x, *suffix == '\0' || x >= 100 ? 0 : 1, suffix);
    x /= 1000.0;
  }
  return fmt::format("{:.1f}T", x);
}

std::string short_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

std::string progress_text(const Progress& progress) {
  const std::string passes =
      progress.passes.empty() ? "" : fmt::format("passes {:.2f}  ", fmt::join(progress.passes, ", "));
  return fmt::format("step {}/{}  tokens {}  {}loss {:.4f}  {} tokens/s  {} left", progress.step,
                     progress.total_steps, short_count(static_cast<double>(progress.tokens)), passes,
                     progress.loss, short_count(progress.tokens_per_second),
                     short_duration(progress.seconds_left));
}

ProgressLine::ProgressLine(bool quiet)
    : quiet_(quiet), is_terminal_(isatty(STDERR_FILENO) == 1), last_(std::chrono::steady_clock::now()) {}

ProgressLine::~ProgressLine() {
  if (is_shown_) std::fputc('\n', stderr);
}

void ProgressLine::clear() {
  if (is_shown_) std::fputs("\r\033[K", stderr);
  is_shown_ = false;
}

void ProgressLine::update(const Progress& progress) {
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  const double interval_s = is_terminal_ ? kTerminalInterval_s : kLogInterval_s;
  if (std::chrono::duration<double>(now - last_).count() < interval_s) return;
  last_ = now;
  clear();
  std::fputs(progress_text(progress).c_str(), stderr);
  if (is_terminal_)
    is_shown_ = true;
  else
    std::fputc('\n', stderr);
  std::fflush(stderr);
}

void ProgressLine::say(const std::string& line) {
  if (quiet_) return;
  clear();
  std::fputs((line + "\n").c_str(), stderr);
}

}  // namespace gca::train
