#include "tests/ptx_machine/opcode.h"

#include <algorithm>
#include <map>

#include "tests/ptx_machine/ptx_error.h"

namespace ptx {

std::optional<Type> parse_type(std::string_view name) {
  static const std::map<std::string_view, Type> kTypes = {
      {"pred", Type::pred}, {"b8", Type::b8},       {"u8", Type::u8},         {"s8", Type::s8},
      {"b16", Type::b16},   {"u16", Type::u16},     {"s16", Type::s16},       {"f16", Type::f16},
      {"bf16", Type::bf16}, {"b32", Type::b32},     {"u32", Type::u32},       {"s32", Type::s32},
      {"f32", Type::f32},   {"f16x2", Type::f16x2}, {"bf16x2", Type::bf16x2}, {"tf32", Type::tf32},
      {"b64", Type::b64},   {"u64", Type::u64},     {"s64", Type::s64},       {"f64", Type::f64}};
  const auto found = kTypes.find(name);
  return found == kTypes.end() ? std::nullopt : std::optional(found->second);
}

int size_of(Type type) {
  switch (type) {
    case Type::pred:
    case Type::b8:
    case Type::u8:
    case Type::s8:
      return 1;
    case Type::b16:
    case Type::u16:
    case Type::s16:
    case Type::f16:
    case Type::bf16:
      return 2;
    case Type::b64:
    case Type::u64:
    case Type::s64:
    case Type::f64:
      return 8;
    default:
      return 4;
  }
}

bool is_signed(Type type) {
  return type == Type::s8 || type == Type::s16 || type == Type::s32 || type == Type::s64;
}

/// Bytes of a lane in a register of a type.
static int register_size(Type type) {
  return std::max(size_of(type), 2);
}

Build::Build(Scope& scope, const ParsedInstruction& parsed) : scope_(scope), parsed_(parsed) {
  std::string_view rest = parsed.opcode;
  for (bool first = true; !rest.empty(); first = false) {
    const size_t dot = rest.find('.');
    const std::string_view word = rest.substr(0, dot);
    if (first)
      base_ = word;
    else
      modifiers_.push_back(word);
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
}

bool Build::take(std::string_view modifier) {
  const auto found = std::find(modifiers_.begin(), modifiers_.end(), modifier);
  if (found == modifiers_.end()) return false;
  modifiers_.erase(found);
  return true;
}

bool Build::take_any(std::initializer_list<std::string_view> modifiers) {
  bool any = false;
  for (const std::string_view modifier : modifiers) any = take(modifier) || any;
  return any;
}

std::optional<Type> Build::take_type() {
  for (auto i = modifiers_.begin(); i != modifiers_.end(); ++i) {
    const std::optional<Type> type = parse_type(*i);
    if (!type) continue;
    modifiers_.erase(i);
    return type;
  }
  return std::nullopt;
}

Type Build::need_type() {
  const std::optional<Type> type = take_type();
  if (!type) unknown("no type");
  return *type;
}

int Build::take_vector() {
  return take("v2") ? 2 : take("v4") ? 4 : take("v8") ? 8 : 1;
}

std::optional<std::string> Build::take_prefixed(std::string_view prefix) {
  for (auto i = modifiers_.begin(); i != modifiers_.end(); ++i) {
    if (!i->starts_with(prefix)) continue;
    std::string rest(i->substr(prefix.size()));
    modifiers_.erase(i);
    return rest;
  }
  return std::nullopt;
}

void Build::finish() {
  if (!modifiers_.empty()) unknown("unknown modifier ." + std::string(modifiers_.front()));
  if (in.run == nullptr) unknown("no such form");
}

void Build::unknown(const std::string& what) const {
  throw Error("PTX line " + std::to_string(parsed_.text_line) + ": " + parsed_.opcode + ": " + what);
}

const Operand& Build::operand(size_t i) const {
  if (i >= parsed_.operands.size()) unknown("too few operands");
  return parsed_.operands[i];
}

uint32_t Build::source(const Operand& operand, Type type) {
  switch (operand.kind) {
    case Operand::Kind::reg: {
      const Type declared = scope_.register_type(operand.index);
      if ((type == Type::pred) != (declared == Type::pred)) unknown("predicate expected or misplaced");
      if (type != Type::pred && register_size(declared) != register_size(type))
        unknown("register " + operand.name + " has another size");
      const uint32_t offset = scope_.register_offset(operand.index);
      sources.push_back(offset / kSlotBytes);
      return offset;
    }
    case Operand::Kind::special:
      return scope_.special_offset(operand.name);
    case Operand::Kind::integer:
    case Operand::Kind::float64: {
      uint64_t bits = operand.bits;
      if (type == Type::pred) bits = bits != 0 ? kAllLanes : 0;
      // Two 16-bit lanes share a word of a constant; a handler reads its lane's half.
      if (size_of(type) == 2) bits = (bits & 0xFFFF) * 0x10001;
      if (operand.kind == Operand::Kind::float64 && type == Type::f32) unknown("double constant for float");
      return scope_.constant_offset(bits, size_of(type) == 8);
    }
    case Operand::Kind::float32:
      return scope_.constant_offset(operand.bits, false);
    case Operand::Kind::symbol: {
      const Scope::Place place = scope_.place_of(operand.name);
      if (place.address_register != kNoSlot) return place.address_register;
      return scope_.constant_offset(static_cast<uint64_t>(place.offset), size_of(type) == 8);
    }
    default:
      unknown("an operand that cannot be read");
  }
}

uint32_t Build::result(const Operand& operand) {
  if (operand.kind == Operand::Kind::sink) return scope_.scratch_offset();
  if (operand.kind != Operand::Kind::reg) unknown("an operand that cannot be written");
  const uint32_t offset = scope_.register_offset(operand.index);
  results.push_back(offset / kSlotBytes);
  return offset;
}

void Build::source_list(size_t i, Type type) {
  const Operand& vector = operand(i);
  std::vector<uint32_t> offsets;
  if (vector.kind == Operand::Kind::vector) {
    for (const Operand& element : vector.elements) offsets.push_back(source(element, type));
  } else {
    offsets.push_back(source(vector, type));
  }
  auto& lists = scope_.program().lists;
  if (in.list_size == 0) in.list = static_cast<uint32_t>(lists.size());
  lists.insert(lists.end(), offsets.begin(), offsets.end());
  in.list_size += static_cast<uint32_t>(offsets.size());
}

void Build::result_list(size_t i) {
  const Operand& vector = operand(i);
  std::vector<uint32_t> offsets;
  if (vector.kind == Operand::Kind::vector) {
    for (const Operand& element : vector.elements) offsets.push_back(result(element));
  } else {
    offsets.push_back(result(vector));
  }
  auto& lists = scope_.program().lists;
  if (in.list_size == 0) in.list = static_cast<uint32_t>(lists.size());
  lists.insert(lists.end(), offsets.begin(), offsets.end());
  in.list_size += static_cast<uint32_t>(offsets.size());
}

Build::AddressOperand Build::address(const Operand& operand) {
  if (operand.kind != Operand::Kind::address) unknown("expected an address");
  const Operand& base = operand.elements[0];
  AddressOperand result;
  result.offset = static_cast<int64_t>(operand.bits);
  if (base.kind == Operand::Kind::symbol) {
    result.symbol = scope_.place_of(base.name);
    result.offset += result.symbol->offset;
    result.base = result.symbol->address_register;
    result.wide = true;
  } else if (base.kind == Operand::Kind::integer) {
    result.offset += static_cast<int64_t>(base.bits);
  } else {
    result.wide = register_bytes(base) == 8;
    result.base = source(base, result.wide ? Type::b64 : Type::b32);
  }
  return result;
}

int Build::register_bytes(const Operand& operand) {
  return operand.kind == Operand::Kind::sink ? 8 : size_of(register_type(operand));
}

Type Build::register_type(const Operand& operand) {
  if (operand.kind != Operand::Kind::reg) unknown("expected a register");
  return scope_.register_type(operand.index);
}

}  // namespace ptx
