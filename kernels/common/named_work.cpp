#include "kernels/common/named_work.h"

#include <ATen/record_function.h>

namespace gca::kernels {

NamedWork::NamedWork(const char* name)
    : record_(std::make_unique<at::RecordFunction>(at::RecordScope::FUNCTION)) {
  if (record_->isActive()) record_->before(name);
}

NamedWork::~NamedWork() = default;

}  // namespace gca::kernels
