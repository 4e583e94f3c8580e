#include "lib/profile/operator_profile.h"

#include <ATen/record_function.h>

#include <fmt/format.h>
#include <algorithm>
#include <chrono>
#include <memory>
#include <string_view>

namespace gca::profile {

struct ProfileFrame;

namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// "torch::autograd::CppNode<gca::kernels::(anonymous namespace)::LinearFunction>" is the backward pass of
/// one of our operators; LibTorch's own are named like "MulBackward0".
std::string readable_name(const at::RecordFunction& function) {
  const std::string_view name = function.name();
  if (!name.starts_with("torch::autograd::CppNode<")) return std::string(name);
  const size_t last_part = name.rfind(':') + 1;
  return std::string(name.substr(last_part, name.size() - 1 - last_part)) + " backward";
}

thread_local OperatorProfile* running_profile = nullptr;
thread_local ProfileFrame* innermost_frame = nullptr;

}  // namespace

/// One call of an operator, from its beginning to its end.
struct ProfileFrame : at::ObserverContext {
  ProfileFrame* outer = innermost_frame;
  double inner_seconds = 0;
  double started = now_seconds();

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction&) {
    auto frame = std::make_unique<ProfileFrame>();
    innermost_frame = frame.get();
    return frame;
  }

  static void end(const at::RecordFunction& function, at::ObserverContext* context) {
    const auto& frame = static_cast<ProfileFrame&>(*context);
    const double seconds = now_seconds() - frame.started;
    innermost_frame = frame.outer;
    if (frame.outer != nullptr) frame.outer->inner_seconds += seconds;
    if (running_profile == nullptr) return;
    const std::string name = readable_name(function);
    OperatorTime& time = running_profile->times_[name];
    time.name = name;
    ++time.calls;
    time.seconds += seconds - frame.inner_seconds;
  }
};

OperatorProfile::~OperatorProfile() {
  if (callback_ != 0) stop();
}

void OperatorProfile::start() {
  running_profile = this;
  innermost_frame = nullptr;
  callback_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(&ProfileFrame::begin, &ProfileFrame::end)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  started_ = now_seconds();
}

void OperatorProfile::stop() {
  elapsed_seconds_ += now_seconds() - started_;
  at::removeCallback(callback_);
  callback_ = 0;
  running_profile = nullptr;
}

std::vector<OperatorTime> OperatorProfile::operators() const {
  std::vector<OperatorTime> sorted;
  for (const auto& [name, time] : times_) sorted.push_back(time);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const OperatorTime& a, const OperatorTime& b) { return a.seconds > b.seconds; });
  return sorted;
}

double OperatorProfile::explained() const {
  double inside = 0;
  for (const auto& [name, time] : times_) inside += time.seconds;
  return elapsed_seconds_ > 0 ? inside / elapsed_seconds_ : 0.0;
}

nlohmann::ordered_json OperatorProfile::to_json() const {
  nlohmann::ordered_json json;
  json["seconds"] = elapsed_seconds_;
  json["explained"] = explained();
  json["operators"] = nlohmann::ordered_json::array();
  for (const OperatorTime& time : operators())
    json["operators"].push_back({{"operator", time.name},
                                 {"calls", time.calls},
                                 {"seconds", time.seconds},
                                 {"share", elapsed_seconds_ > 0 ? time.seconds / elapsed_seconds_ : 0.0}});
  return json;
}

std::string OperatorProfile::table() const {
  constexpr double kShown = 0.005;
  std::string table = fmt::format("{:<44}{:>8}{:>12}{:>9}\n", "operator", "calls", "ms", "share");
  const auto line = [&](const std::string& name, const std::string& calls, double seconds) {
    const double share = elapsed_seconds_ > 0 ? seconds / elapsed_seconds_ : 0.0;
    table += fmt::format("{:<44}{:>8}{:>12.2f}{:>7.1f} %\n", name, calls, 1e3 * seconds, 100 * share);
  };
  double rest = 0;
  double inside = 0;
  for (const OperatorTime& time : operators()) {
    inside += time.seconds;
    if (time.seconds < kShown * elapsed_seconds_)
      rest += time.seconds;
    else
      line(time.name, std::to_string(time.calls), time.seconds);
  }
  line("other operators", "", rest);
  line("between operators", "", elapsed_seconds_ - inside);
  return table;
}

}  // namespace gca::profile
