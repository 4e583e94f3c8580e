#pragma once
// What a warp knows of its part in wgmma: products that it has issued and not waited for, and which registers
// may be touched.

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "tests/ptx_machine/program.h"

namespace ptx {

struct WarpgroupState {
  /// What products in flight do with a register.
  enum class Use : uint8_t { none, accumulator, operand };

  struct Product {
    const Instruction* instruction = nullptr;
    uint32_t group = 0;                                // number of its commit group
    std::vector<std::pair<uint32_t, uint32_t>> reads;  // of shared memory: offset, bytes
  };

  void begin(uint32_t slot_count) {
    in_flight.clear();
    committed_groups = fences = 0;
    history = 0;
    use.assign(slot_count, Use::none);
    touched.assign(slot_count, 0);
    shape.assign(slot_count, 0);
  }

  std::deque<Product> in_flight;
  uint32_t committed_groups = 0;
  uint32_t fences = 0;   // wgmma.fence executed so far
  uint64_t history = 0;  // which instructions of wgmma the warp has executed: equal in all four
  std::vector<Use> use;  // of a slot
  std::vector<uint32_t>
      touched;  // of a slot: `fences` + 1 when an instruction other than wgmma last touched it
  std::vector<uint32_t> shape;  // of a slot: columns of the product that accumulates there since a fence
};

}  // namespace ptx
