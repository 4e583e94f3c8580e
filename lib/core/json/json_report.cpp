#include "lib/core/json/json_report.h"

#include <unistd.h>

#include <ctime>
#include <utility>

#include "lib/core/files/atomic_file.h"
#include "lib/core/files/proc_file.h"
#include "lib/core/seconds_since.h"

namespace gca {
namespace {

using nlohmann::ordered_json;

int64_t memory_size_bytes() {
  return int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
}

std::string rfc3339(std::chrono::system_clock::time_point instant) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(instant);
  std::tm utc;
  ::gmtime_r(&seconds, &utc);
  char text[sizeof("2000-01-01T00:00:00Z")];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace

std::string json_text(const ordered_json& json) {
  return json.dump(2, ' ', false,
                   ordered_json::error_handler_t::replace);  // dump() writes non-finite as null
}

std::string json_in_script(const nlohmann::json& data) {
  std::string text = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (size_t at = 0; (at = text.find("</", at)) != std::string::npos; at += 3) text.replace(at, 2, "<\\/");
  for (size_t at = 0; (at = text.find("<!--", at)) != std::string::npos; at += 4)
    text.replace(at, 1, "\\u003c");
  return text;
}

JsonReport::JsonReport(std::string schema, std::string version, std::vector<std::string> command)
    : schema_(std::move(schema)),
      version_(std::move(version)),
      command_(std::move(command)),
      started_(std::chrono::system_clock::now()),
      clock_start_(std::chrono::steady_clock::now()) {}

double JsonReport::elapsed_seconds() const {
  return seconds_since(clock_start_);
}

ordered_json JsonReport::document() const {
  ordered_json machine;
  machine["cpu"] = field_of_proc_file("/proc/cpuinfo", "model name");
  machine["threads"] = threads;
  machine["memory"] = memory_size_bytes();
  machine["device"] = device;
  if (!instruction_set.empty()) machine["instruction_set"] = instruction_set;

  ordered_json document;
  document["schema"] = schema_;
  document["command"] = command_;
  document["version"] = version_;
  document["started"] = rfc3339(started_);
  document["seconds"] = elapsed_seconds();
  document["machine"] = std::move(machine);
  document["seed"] = seed;
  document["config"] = config;
  document["result"] = result;
  return document;
}

std::string JsonReport::text() const {
  return json_text(document()) + "\n";
}

void JsonReport::write(const std::string& path) const {
  write_file_atomically(path, text());
}

}  // namespace gca
