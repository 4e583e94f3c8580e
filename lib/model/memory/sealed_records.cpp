#include "lib/model/memory/sealed_records.h"

#include <utility>

#include <fmt/format.h>

#include "lib/core/error.h"

namespace gca::model {

SealedRecords::SealedRecords(std::unique_ptr<ChunkRecords> records, int64_t record_bytes, std::string where,
                             std::vector<uint64_t> checksums, ChecksumKind kind)
    : records_(std::move(records)),
      record_bytes_(record_bytes),
      where_(std::move(where)),
      checksums_(std::move(checksums)),
      kind_(kind) {
  if (static_cast<int64_t>(checksums_.size()) != records_->count())
    fail_usage(where_, fmt::format("has {} records, {} were written", records_->count(), checksums_.size()),
               "build the library again");
}

uint64_t SealedRecords::checksum_of(const std::byte* record) const {
  Checksum checksum(kind_);
  checksum.update(record, static_cast<size_t>(record_bytes_));
  return checksum.value();
}

void SealedRecords::append(std::span<const std::byte> records) {
  records_->append(records);
  for (; !records.empty(); records = records.subspan(static_cast<size_t>(record_bytes_)))
    checksums_.push_back(checksum_of(records.data()));
}

const std::byte* SealedRecords::at(int64_t number) const {
  const std::byte* record = records_->at(number);
  if (checksum_of(record) != checksums_[static_cast<size_t>(number)])
    fail_usage(where_, fmt::format("the record of chunk {} is damaged", number), "build the library again");
  return record;
}

}  // namespace gca::model
