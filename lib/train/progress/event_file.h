#pragma once
// What metrics.jsonl tells, as scalars for TensorBoard. A file of records (TFRecord), each of which is
//   length uint64, masked CRC-32C of length uint32, data, masked CRC-32C of data uint32      (little-endian)
// with data a serialised Event (tensorflow/core/util/event.proto). Every start of a run writes a file of its own, which says
// where it begins, so that readers drop what an earlier one has told of later steps.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace gca::train {

struct Scalar {
  std::string tag;
  double value = 0.0;
};

/// The numbers of a line of metrics.jsonl: train/KEY, retrieval/GROUP/KEY, valid/KEY, valid/TASK/KEY.
std::vector<Scalar> scalars_of(const nlohmann::ordered_json& line);

/// One record: framing, checksums, data.
std::string event_record(std::string_view data);

/// A serialised Event with scalars as float32. `wall_time` in seconds since 1970.
std::string scalar_event(double wall_time, int64_t step, const std::vector<Scalar>& scalars);

/// Removes those of an earlier run in `folder`.
void remove_event_files(const std::string& folder);

class EventFile {
 public:
  /// Makes a file in `folder`, of a run that has made `step` steps.
  EventFile(const std::string& folder, int64_t step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  /// Writes what a line of metrics.jsonl tells. Throws Error(failed) naming the file.
  void append(const nlohmann::ordered_json& line);

 private:
  void write(const std::string& record);
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace gca::train
