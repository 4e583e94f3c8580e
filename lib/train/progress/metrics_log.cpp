#include "lib/train/progress/metrics_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/json/json_number.h"

namespace gca::train {
namespace {

/// The lines of `text` up to and with those of `step`.
std::string lines_up_to(const std::string& text, int64_t step) {
  std::istringstream lines(text);
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    int64_t line_step = 0;
    const bool is_entry =
        json.is_object() && json.contains("step") && read_whole_number(json["step"], line_step);
    if (!is_entry || line_step < 0 || line_step > step) break;
    kept += line + "\n";
  }
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(std::string path, int64_t step) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) {
    const std::string text = read_file(path_);
    if (const std::string kept = lines_up_to(text, step); kept != text) write_file_atomically(path_, kept);
  }
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_run(path_, std::string("cannot be written: ") + std::strerror(errno));
}

MetricsLog::~MetricsLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void MetricsLog::append(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + "\n";
  ssize_t written = 0;
  do written = ::write(descriptor_, text.data(), text.size());
  while (written < 0 && errno == EINTR);
  if (written != static_cast<ssize_t>(text.size()))
    fail_run(path_, std::string("cannot be written: ") + std::strerror(errno), "free space on the disk");
}

}  // namespace gca::train
