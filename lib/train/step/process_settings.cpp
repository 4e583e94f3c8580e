#include "lib/train/step/process_settings.h"

#include <ATen/Parallel.h>
#include <malloc.h>

namespace gca::train {

void use_threads(int threads) {
  at::set_num_threads(threads);
}

void keep_freed_memory() {
  constexpr int kOneGibibyte = 1 << 30;
  mallopt(M_MMAP_THRESHOLD, kOneGibibyte);
  mallopt(M_TRIM_THRESHOLD, kOneGibibyte);
}

}  // namespace gca::train
