#pragma once
// The instruction sets that vectorized functions are compiled for, and which of them runs.

#include <span>
#include <string_view>

#include "kernels/common/bf16_tile_kernels.h"
#include "kernels/common/int8_products.h"
#include "kernels/common/row_kernels.h"
#include "kernels/common/scan_kernels.h"
#include "kernels/common/tile_kernels.h"

namespace gca::kernels {

struct InstructionSet {
  const char* name;  ///< "baseline", "avx2", "avx512", "avx512bf16", "amx"; "amx-emulated" for tests
  const TileKernels* tile_kernels;
  const Bf16TileKernels* bf16_tile_kernels;  ///< of a smaller set where this one multiplies no bf16
  const RowKernelSet* row_kernels;
  const Int8Products* int8_products;
  const ScanKernelSet* scan_kernels;
};

/// Those that this processor runs, the best last. For bf16, sets whose arithmetic is emulated are among them.
std::span<const InstructionSet> runnable_instruction_sets();

/// The one that kernels use: the best, unless another was chosen.
const InstructionSet& instruction_set();

/// Chooses for all threads, to compare sets or to test them. Call it before kernels run. Throws
/// std::invalid_argument, with the runnable names, where `name` is not one of them.
void use_instruction_set(std::string_view name);

}  // namespace gca::kernels
