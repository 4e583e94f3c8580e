#include "lib/model/model_fingerprint.h"

#include "lib/core/checksum.h"
#include "lib/core/sha256.h"

namespace gca {
namespace {

constexpr const char* kXxh3Mark = "xxh3:";  ///< before the digest; gca 0.1.0 wrote none

std::string digest_of(const LanguageModel& model, ChecksumKind kind) {
  Sha256 digest;
  digest.update(model_config_to_json(model.config()).dump());
  for (const Weight& weight : model.weights()) {
    const at::Tensor master = weight.master.detach().to(at::kCPU).contiguous();
    Checksum checksum(kind);  // much faster than SHA-256, and no weights are made to deceive
    checksum.update(master.const_data_ptr(), master.nbytes());
    digest.update(weight.name + checksum.text());
  }
  return (kind == ChecksumKind::xxh3 ? kXxh3Mark : "") + digest.hex_digest();
}

}  // namespace

std::string model_fingerprint(const LanguageModel& model) {
  return digest_of(model, ChecksumKind::xxh3);
}

bool is_fingerprint_of(const std::string& fingerprint, const LanguageModel& model) {
  return fingerprint == digest_of(model, checksum_kind_of(fingerprint));
}

}  // namespace gca
