#include "lib/core/checksums/checksum.h"

#include <new>

#include <fmt/format.h>
#include <xxhash.h>

#include "lib/core/checksums/checksum_v1.h"

namespace gca {
namespace {

constexpr std::string_view kXxh3Mark = "xxh3:";

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

}  // namespace

struct Checksum::State {
  std::unique_ptr<XXH3_state_t, FreeState> xxh3;  ///< null: v1
  ChecksumV1 v1;
};

ChecksumKind checksum_kind_of(std::string_view text) {
  return text.starts_with(kXxh3Mark) ? ChecksumKind::xxh3 : ChecksumKind::v1;
}

Checksum::Checksum(ChecksumKind kind) : state_(std::make_unique<State>()) {
  if (kind == ChecksumKind::v1) return;
  state_->xxh3.reset(XXH3_createState());
  if (state_->xxh3 == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state_->xxh3.get());
}

Checksum::~Checksum() = default;
Checksum::Checksum(Checksum&&) noexcept = default;
Checksum& Checksum::operator=(Checksum&&) noexcept = default;

void Checksum::update(const void* data, size_t size_bytes) {
  if (state_->xxh3 != nullptr)
    XXH3_64bits_update(state_->xxh3.get(), data, size_bytes);
  else
    state_->v1.update(data, size_bytes);
}

uint64_t Checksum::value() const {
  return state_->xxh3 != nullptr ? XXH3_64bits_digest(state_->xxh3.get()) : state_->v1.value();
}

std::string Checksum::text() const {
  return fmt::format("{}{:016x}", state_->xxh3 != nullptr ? kXxh3Mark : "", value());
}

}  // namespace gca
