#pragma once
// Records with a checksum each: kept while they are added, compared when they are read.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/core/checksums/checksum.h"
#include "lib/model/memory/chunk_records.h"

namespace gca::model {

class SealedRecords final : public ChunkRecords {
 public:
  /// `where` is what errors name. `checksums`: of the records that are there, one each, of this kind.
  SealedRecords(std::unique_ptr<ChunkRecords> records, int64_t record_bytes, std::string where,
                std::vector<uint64_t> checksums = {}, ChecksumKind kind = ChecksumKind::xxh3);

  void append(std::span<const std::byte> records) override;
  int64_t count() const override { return records_->count(); }
  /// Throws Error(usage) naming the file when the record is not what was added.
  const std::byte* at(int64_t number) const override;
  void prefetch(std::span<const int64_t> numbers) const override { records_->prefetch(numbers); }

  const std::vector<uint64_t>& checksums() const { return checksums_; }

 private:
  uint64_t checksum_of(const std::byte* record) const;

  std::unique_ptr<ChunkRecords> records_;
  int64_t record_bytes_;
  std::string where_;
  std::vector<uint64_t> checksums_;
  ChecksumKind kind_;
};

}  // namespace gca::model
