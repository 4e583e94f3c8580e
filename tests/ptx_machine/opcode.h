#pragma once
// From the text of an instruction to the function that executes it. Every family of opcodes has a file
// ops_*.cpp that holds both: how its modifiers choose a handler, and the handlers. A modifier that nobody
// asked for is an error, so nothing is guessed.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/ptx_machine/program.h"
#include "tests/ptx_machine/syntax.h"

namespace ptx {

enum class Type {
  pred,
  b8,
  u8,
  s8,
  b16,
  u16,
  s16,
  f16,
  bf16,
  b32,
  u32,
  s32,
  f32,
  f16x2,
  bf16x2,
  tf32,
  b64,
  u64,
  s64,
  f64
};

std::optional<Type> parse_type(std::string_view name);
int size_of(Type type);
bool is_signed(Type type);

/// The address windows of generic addressing; global addresses lie below.
constexpr uint64_t kSharedWindow = uint64_t{1} << 56;
constexpr uint64_t kLocalWindow = uint64_t{2} << 56;
constexpr uint64_t kParamWindow = uint64_t{3} << 56;
constexpr uint64_t kWindowMask = uint64_t{0xFF} << 56;

/// Where symbols and registers of the function being translated stand; implemented by translate.cpp.
class Scope {
 public:
  virtual ~Scope() = default;
  virtual uint32_t register_offset(uint32_t index) = 0;
  virtual Type register_type(uint32_t index) = 0;
  virtual uint32_t constant_offset(uint64_t bits, bool wide) = 0;
  virtual uint32_t special_offset(const std::string& name) = 0;
  virtual uint32_t scratch_offset() = 0;
  /// A variable's address within its space, and the space; global ones as a register that holds it.
  struct Place {
    StateSpace space;
    int64_t offset = 0;
    uint32_t address_register = kNoSlot;
    bool is_kernel_parameter = false;
  };
  virtual Place place_of(const std::string& symbol) = 0;
  virtual Program& program() = 0;
};

/// One instruction being translated.
class Build {
 public:
  Build(Scope& scope, const ParsedInstruction& parsed);

  // ---- modifiers, in any order
  std::string_view base() const { return base_; }
  bool take(std::string_view modifier);
  bool take_any(std::initializer_list<std::string_view> modifiers);
  Type need_type();  // the first modifier that is a type
  std::optional<Type> take_type();
  int take_vector();  // .v2, .v4; 1 when there is none
  /// The first modifier that begins with `prefix`, with what follows.
  std::optional<std::string> take_prefixed(std::string_view prefix);
  /// Throws when a modifier is left.
  void finish();
  [[noreturn]] void unknown(const std::string& what) const;

  // ---- operands
  size_t operand_count() const { return parsed_.operands.size(); }
  const Operand& operand(size_t i) const;
  /// A register, immediate or special register that is read, as wide as `type`.
  uint32_t source(const Operand& operand, Type type);
  uint32_t source(size_t i, Type type) { return source(operand(i), type); }
  uint32_t result(const Operand& operand);
  uint32_t result(size_t i) { return result(operand(i)); }
  /// Registers of a vector operand (or a single one), appended to Program::lists; sets in.list where it is
  /// the first list.
  void source_list(size_t i, Type type);
  void result_list(size_t i);
  /// [base + offset]: sets `base` (kNoSlot: absolute), in.offset; returns whether the base register is 64 bits wide.
  struct AddressOperand {
    uint32_t base = kNoSlot;
    bool wide = false;
    int64_t offset = 0;
    std::optional<Scope::Place> symbol;
  };
  AddressOperand address(const Operand& operand);
  int register_bytes(const Operand& operand);
  Type register_type(const Operand& operand);
  Scope& scope() { return scope_; }

  Instruction in;
  std::vector<uint32_t> sources, results;

 private:
  Scope& scope_;
  const ParsedInstruction& parsed_;
  std::string_view base_;
  std::vector<std::string_view> modifiers_;
};

using OpcodeTranslator = void (*)(Build&);
struct Opcode {
  std::string_view name;  // the first word
  OpcodeTranslator translate;
};

std::span<const Opcode> arithmetic_opcodes();
std::span<const Opcode> packed_opcodes();
std::span<const Opcode> logic_opcodes();
std::span<const Opcode> move_opcodes();
std::span<const Opcode> memory_opcodes();
std::span<const Opcode> collective_opcodes();
std::span<const Opcode> control_opcodes();
std::span<const Opcode> async_opcodes();
std::span<const Opcode> matrix_opcodes();
std::span<const Opcode> warpgroup_opcodes();

}  // namespace ptx
