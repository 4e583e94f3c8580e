#include "lib/model/layers/kv_rows.h"

namespace gca::model {

void KvRows::append(const at::Tensor& keys, const at::Tensor& values) {
  keys_.append(keys);
  values_.append(values);
}

void KvRows::truncate(int64_t count) {
  keys_.truncate(count);
  values_.truncate(count);
}

KvRows KvRows::clone() const {
  KvRows copy;
  copy.keys_ = keys_.clone();
  copy.values_ = values_.clone();
  return copy;
}

void KvRows::visit(const std::string& name,
                   const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
  keys_.visit(name + ".keys", visitor);
  values_.visit(name + ".values", visitor);
}

}  // namespace gca::model
