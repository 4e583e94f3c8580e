#pragma once
// A kernel in the form that runs: a flat list of instructions, each a function with its operands as places in
// the register file of a warp. Calls are inlined, labels are indices, immediates are registers that are written once.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/ptx_machine/syntax.h"

namespace ptx {

class Warp;
struct Instruction;
using Handler = void (*)(Warp&, const Instruction&);

constexpr int kWarpSize = 32;
constexpr uint32_t kAllLanes = 0xFFFFFFFF;
/// A register holds its 32 lanes side by side, 4 bytes each, in a slot of this size; 64-bit registers take
/// two slots, 16-bit ones half of one, a predicate is one word of bits at the slot's start.
constexpr uint32_t kSlotBytes = 128;
constexpr uint32_t kNoSlot = 0xFFFFFFFF;

/// What an instruction costs, for the counters: the part of a multiprocessor that it occupies beside its issue slots.
enum class Unit : uint8_t {
  none,
  fp32,
  integer,
  special_function,
  tensor,
  shared_memory,
  global_memory,
  control
};
constexpr int kUnits = 8;

struct Instruction {
  Handler run = nullptr;
  // Registers, as byte offsets into the register file; kNoSlot where there is none.
  uint32_t d = kNoSlot, a = kNoSlot, b = kNoSlot, c = kNoSlot, e = kNoSlot;
  uint32_t list = 0, list_size = 0;  // further registers: Program::lists[list ...], of vectors
  int64_t offset = 0;                // of an address, or a number that the opcode fixes
  uint32_t target = 0;               // of a jump
  uint32_t guard = kNoSlot;          // @p
  uint32_t guard_flip = 0;           // all ones for @!p
  uint32_t sources = 0;              // Program::slots[sources ... sources + source_count): slots read
  uint32_t results = 0;              // Program::slots[results ... results + result_count): slots written
  uint16_t source_count = 0, result_count = 0;
  Unit unit = Unit::none;
  uint8_t issue_slots = 1;  // of the scheduler; 0 for what the assembler makes vanish
  bool is_sync = false;     // a barrier, a wait, a fence: what a mutation may delete
  uint32_t parsed = 0;      // Program::parsed[...], for reports
};

/// Instructions of different cost that one opcode stands for keep the opcode's text for reports.
struct InstructionText {
  std::string opcode;
  int source_line = -1;
  int text_line = 0;
};

struct Program {
  std::string name;
  std::shared_ptr<const Module> module;
  std::vector<Instruction> code;
  std::vector<uint32_t> lists;
  std::vector<uint32_t> slots;
  std::vector<InstructionText> parsed;
  uint32_t slot_count = 0;
  std::vector<std::pair<uint32_t, uint64_t>> constants;    // slot, bits in every lane
  std::vector<uint8_t> constant_is_wide;                   // beside constants: 64-bit
  std::vector<std::pair<uint32_t, std::string>> specials;  // slot, %tid.x
  std::vector<std::pair<uint32_t, std::string>>
      symbols;  // slot, variable of the module: filled with its address
  int64_t parameter_bytes = 0;
  int64_t static_shared_bytes = 0;
  int64_t local_bytes = 0;         // a thread's
  int smallest_shared_access = 4;  // bytes, at most 4: the grain of the race check
  bool has_wgmma = false;          // registers may be in flight

  /// "kernel.cu:12 (bar.sync)".
  std::string describe(const Instruction& instruction) const;
  /// Indices of the synchronising instructions.
  std::vector<size_t> syncs() const;
  /// The same program without one of its instructions.
  Program without(size_t index) const;
};

/// The kernel whose name is, or contains, `name`. Throws Error for an instruction that is not known.
Program translate(std::shared_ptr<const Module> module, std::string_view name);

/// First shared-memory address given out: not 0, so that a null pointer is an error, and aligned for every swizzle.
constexpr int64_t kSharedBase = 1024;

}  // namespace ptx
