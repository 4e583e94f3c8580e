#include "lib/model/model_fingerprint.h"

#include "lib/core/checksum.h"
#include "lib/core/sha256.h"

namespace gca {

std::string model_fingerprint(const Drt& model) {
  Sha256 digest;
  digest.update(model_config_to_json(model.config()).dump());
  for (const Weight& weight : model.weights()) {
    const at::Tensor master = weight.master.detach().to(at::kCPU).contiguous();
    Checksum checksum;  // much faster than SHA-256, and no weights are made to deceive
    checksum.update(master.const_data_ptr(), master.nbytes());
    digest.update(weight.name + checksum.hex());
  }
  return digest.hex_digest();
}

}  // namespace gca
