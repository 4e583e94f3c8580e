#pragma once
// Golden cases of whole models of the related architectures (metadata entry "kind" is "model"; "config" has
// the keys of config.json, "training" those of training).

#include "lib/model/model_config.h"
#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

model::ModelConfig architecture_config_of(const GoldenFile& golden);

/// A run of the form that trains, its gradients, what the end of its step moves, and a run of the form that reads
/// texts; results under the
/// golden names, on the CPU. `jitter` as in run_model_case().
NamedTensors run_architecture_case(const GoldenFile& golden, at::ScalarType dtype, uint64_t jitter = 0,
                                   at::Device device = at::kCPU);

}  // namespace gca::golden
