#include <algorithm>
#include <map>
#include <set>

#include "tests/ptx_machine/opcode.h"
#include "tests/ptx_machine/ptx_error.h"

namespace ptx {
namespace {

const std::map<std::string_view, OpcodeTranslator>& opcode_table() {
  static const std::map<std::string_view, OpcodeTranslator> kTable = [] {
    std::map<std::string_view, OpcodeTranslator> table;
    for (const auto family :
         {arithmetic_opcodes(), logic_opcodes(), move_opcodes(), memory_opcodes(), collective_opcodes(),
          control_opcodes(), async_opcodes(), matrix_opcodes(), warpgroup_opcodes()}) {
      for (const Opcode& opcode : family) table[opcode.name] = opcode.translate;
    }
    return table;
  }();
  return kTable;
}

int64_t align_up(int64_t value, int64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

/// One kernel with everything it calls, inlined.
class Translator {
 public:
  Translator(std::shared_ptr<const Module> module, const Function& entry) : module_(*module), entry_(entry) {
    program_.name = entry.name;
    program_.module = std::move(module);
  }

  Program run() {
    lay_out_parameters();
    lay_out_shared();
    inline_function(entry_, {}, nullptr);
    fold_address_sums();
    return std::move(program_);
  }

 private:
  using Places = std::map<std::string, Scope::Place, std::less<>>;

  /// A sum of a register and a number that serves only as the base of addresses costs nothing: the assembler
  /// puts the number into the memory instructions.
  void fold_address_sums() {
    std::map<uint32_t, int> writes, reads, address_reads;  // by slot
    for (const Instruction& in : program_.code) {
      for (uint32_t i = 0; i < in.result_count; ++i) ++writes[program_.slots[in.results + i]];
      for (uint32_t i = 0; i < in.source_count; ++i) ++reads[program_.slots[in.sources + i]];
      const bool copies = program_.parsed[in.parsed].opcode.starts_with("cp.async");
      if (!copies && in.unit != Unit::shared_memory && in.unit != Unit::global_memory) continue;
      if (in.a != kNoSlot) ++address_reads[in.a / kSlotBytes];
      if (copies && in.b != kNoSlot) ++address_reads[in.b / kSlotBytes];
    }
    std::set<uint32_t> numbers;
    for (const auto& [slot, bits] : program_.constants) numbers.insert(slot);
    for (Instruction& in : program_.code) {
      const std::string& opcode = program_.parsed[in.parsed].opcode;
      if (opcode != "add.s32" && opcode != "add.s64" && opcode != "add.u64") continue;
      const uint32_t slot = in.d / kSlotBytes;
      if (numbers.contains(in.b / kSlotBytes) && writes[slot] == 1 && reads[slot] == address_reads[slot])
        in.issue_slots = 0;
    }
  }

  void lay_out_parameters() {
    for (const Variable& parameter : entry_.parameters) {
      program_.parameter_bytes = align_up(program_.parameter_bytes, parameter.alignment);
      entry_places_[parameter.name] = {StateSpace::param, program_.parameter_bytes, kNoSlot, true};
      program_.parameter_bytes += parameter.size_bytes;
    }
  }

  static void collect_symbols(const Operand& operand, std::set<std::string>& names) {
    if (operand.kind == Operand::Kind::symbol) names.insert(operand.name);
    for (const Operand& element : operand.elements) collect_symbols(element, names);
  }

  /// Static variables first, what the launch sizes after them.
  void lay_out_shared() {
    std::set<std::string> used;
    std::vector<const Function*> functions = {&entry_};
    for (size_t i = 0; i < functions.size(); ++i) {
      for (const ParsedInstruction& instruction : functions[i]->instructions) {
        for (const Operand& operand : instruction.operands) collect_symbols(operand, used);
      }
      for (const Function& function : module_.functions) {
        if (used.contains(function.name) &&
            std::find(functions.begin(), functions.end(), &function) == functions.end())
          functions.push_back(&function);
      }
    }
    std::vector<const Variable*> variables;
    for (const Variable& variable : module_.variables) variables.push_back(&variable);
    for (const Function* function : functions) {
      for (const Variable& variable : function->variables) variables.push_back(&variable);
    }
    int64_t& size = program_.static_shared_bytes;
    for (const bool dynamic : {false, true}) {
      for (const Variable* variable : variables) {
        if (variable->space != StateSpace::shared || (variable->size_bytes == 0) != dynamic) continue;
        if (!used.contains(variable->name)) continue;
        size = align_up(size, variable->alignment);
        shared_places_[variable->name] = {StateSpace::shared, kSharedBase + size, kNoSlot, false};
        size += variable->size_bytes;
      }
    }
  }

  /// The registers and variables of one inlined body.
  class Body : public Scope {
   public:
    Body(Translator& owner, const Function& function, Places formals)
        : owner_(owner), function_(function), places_(std::move(formals)) {
      for (const std::string& name : function.register_types) {
        const std::optional<Type> type = parse_type(name);
        if (!type) throw Error(function.name + ": registers of type " + name + " are not known");
        types_.push_back(*type);
        offsets_.push_back(owner.new_slots(size_of(*type) == 8 ? 2 : 1) * kSlotBytes);
      }
      for (const Variable& variable : function.variables) {
        if (variable.space != StateSpace::local && variable.space != StateSpace::param) continue;
        places_[variable.name] = owner.new_local(variable);
      }
    }

    uint32_t register_offset(uint32_t index) override { return offsets_[index]; }
    Type register_type(uint32_t index) override { return types_[index]; }
    uint32_t constant_offset(uint64_t bits, bool wide) override { return owner_.constant(bits, wide); }
    uint32_t special_offset(const std::string& name) override { return owner_.special(name); }
    uint32_t scratch_offset() override { return owner_.scratch(); }
    Program& program() override { return owner_.program_; }

    Place place_of(const std::string& symbol) override {
      if (const auto own = places_.find(symbol); own != places_.end()) return own->second;
      if (const auto shared = owner_.shared_places_.find(symbol); shared != owner_.shared_places_.end())
        return shared->second;
      for (const Variable& variable : owner_.module_.variables) {
        if (variable.name == symbol) return {variable.space, 0, owner_.symbol(symbol), false};
      }
      throw Error(function_.name + ": unknown symbol " + symbol);
    }

   private:
    Translator& owner_;
    const Function& function_;
    Places places_;
    std::vector<Type> types_;
    std::vector<uint32_t> offsets_;
  };

  /// Appends the body; `ret` of an inlined function jumps behind it.
  void inline_function(const Function& function, Places formals, const ParsedInstruction* call) {
    if (std::find(open_functions_.begin(), open_functions_.end(), &function) != open_functions_.end())
      throw Error(function.name + ": recursion");
    open_functions_.push_back(&function);
    if (call == nullptr) formals = entry_places_;
    Body body(*this, function, std::move(formals));
    std::vector<uint32_t> starts;                    // of every parsed instruction in the flat code
    std::vector<std::pair<size_t, uint32_t>> jumps;  // flat instruction, parsed target
    std::vector<size_t> returns;
    for (const ParsedInstruction& parsed : function.instructions) {
      starts.push_back(static_cast<uint32_t>(program_.code.size()));
      if (parsed.opcode.starts_with("call")) {
        inline_call(body, parsed);
        continue;
      }
      Instruction instruction = translate_instruction(body, parsed);
      if (parsed.opcode.starts_with("bra"))
        jumps.emplace_back(program_.code.size(), parsed.operands.at(0).index);
      if (parsed.opcode.starts_with("ret") && call != nullptr) {
        instruction = jump_like(body, parsed);
        returns.push_back(program_.code.size());
      }
      program_.code.push_back(instruction);
    }
    starts.push_back(static_cast<uint32_t>(program_.code.size()));
    for (const auto& [flat, target] : jumps) program_.code[flat].target = starts.at(target);
    for (const size_t flat : returns) program_.code[flat].target = starts.back();
    open_functions_.pop_back();
  }

  Instruction jump_like(Body& body, const ParsedInstruction& parsed) {
    ParsedInstruction jump = parsed;
    jump.opcode = "bra";
    jump.operands.assign(1, {});
    jump.operands[0].kind = Operand::Kind::label;
    return translate_instruction(body, jump);
  }

  void inline_call(Body& body, const ParsedInstruction& call) {
    if (call.guard >= 0)
      throw Error("PTX line " + std::to_string(call.text_line) + ": a call under a predicate");
    std::vector<Operand> results, arguments;
    std::string name;
    for (const Operand& operand : call.operands) {
      if (operand.kind == Operand::Kind::symbol)
        name = operand.name;
      else if (operand.kind == Operand::Kind::call_args)
        (name.empty() ? results : arguments) = operand.elements;
    }
    const auto callee = std::find_if(module_.functions.begin(), module_.functions.end(),
                                     [&](const Function& f) { return f.name == name && !f.is_entry; });
    if (callee == module_.functions.end())
      throw Error("PTX line " + std::to_string(call.text_line) + ": call of unknown function " + name);
    if (arguments.size() != callee->parameters.size() || results.size() != callee->results.size())
      throw Error("PTX line " + std::to_string(call.text_line) + ": call with a wrong number of arguments");
    Places formals;
    for (size_t i = 0; i < arguments.size(); ++i)
      formals[callee->parameters[i].name] = body.place_of(arguments[i].name);
    for (size_t i = 0; i < results.size(); ++i)
      formals[callee->results[i].name] = body.place_of(results[i].name);
    inline_function(*callee, std::move(formals), &call);
  }

  Instruction translate_instruction(Body& body, const ParsedInstruction& parsed) {
    const std::string_view base = std::string_view(parsed.opcode).substr(0, parsed.opcode.find('.'));
    const auto found = opcode_table().find(base);
    if (found == opcode_table().end())
      throw Error("PTX line " + std::to_string(parsed.text_line) + ": unknown instruction " + parsed.opcode);
    Build build(body, parsed);
    found->second(build);
    build.finish();
    Instruction& in = build.in;
    if (parsed.guard >= 0) {
      in.guard = body.register_offset(static_cast<uint32_t>(parsed.guard));
      in.guard_flip = parsed.guard_negated ? kAllLanes : 0;
    }
    const auto append = [&](const std::vector<uint32_t>& slots, uint32_t& first, uint16_t& count) {
      first = static_cast<uint32_t>(program_.slots.size());
      count = static_cast<uint16_t>(slots.size());
      program_.slots.insert(program_.slots.end(), slots.begin(), slots.end());
    };
    append(build.sources, in.sources, in.source_count);
    append(build.results, in.results, in.result_count);
    in.parsed = static_cast<uint32_t>(program_.parsed.size());
    program_.parsed.push_back({parsed.opcode, parsed.source_line, parsed.text_line});
    return in;
  }

  uint32_t new_slots(uint32_t count) {
    const uint32_t first = program_.slot_count;
    program_.slot_count += count;
    return first;
  }

  Scope::Place new_local(const Variable& variable) {
    program_.local_bytes = align_up(program_.local_bytes, std::max<int64_t>(variable.alignment, 8));
    const Scope::Place place{StateSpace::local, program_.local_bytes, kNoSlot, false};
    program_.local_bytes = align_up(program_.local_bytes + variable.size_bytes, 16);
    return place;
  }

  uint32_t constant(uint64_t bits, bool wide) {
    const auto [found, is_new] = constants_.try_emplace({bits, wide}, 0);
    if (is_new) {
      const uint32_t slot = new_slots(wide ? 2 : 1);
      found->second = slot * kSlotBytes;
      program_.constants.emplace_back(slot, bits);
      program_.constant_is_wide.push_back(wide ? 1 : 0);
    }
    return found->second;
  }

  uint32_t special(const std::string& name) {
    const auto [found, is_new] = specials_.try_emplace(name, 0);
    if (is_new) {
      const uint32_t slot = new_slots(1);
      found->second = slot * kSlotBytes;
      program_.specials.emplace_back(slot, name);
    }
    return found->second;
  }

  uint32_t symbol(const std::string& name) {
    const auto [found, is_new] = symbols_.try_emplace(name, 0);
    if (is_new) {
      const uint32_t slot = new_slots(2);
      found->second = slot * kSlotBytes;
      program_.symbols.emplace_back(slot, name);
    }
    return found->second;
  }

  uint32_t scratch() {
    if (scratch_ == kNoSlot) scratch_ = new_slots(2) * kSlotBytes;
    return scratch_;
  }

  const Module& module_;
  const Function& entry_;
  Program program_;
  Places entry_places_, shared_places_;
  std::vector<const Function*> open_functions_;
  std::map<std::pair<uint64_t, bool>, uint32_t> constants_;
  std::map<std::string, uint32_t> specials_, symbols_;
  uint32_t scratch_ = kNoSlot;
};

}  // namespace

Program translate(std::shared_ptr<const Module> module, std::string_view name) {
  const Function& entry = module->find(name);
  if (!entry.is_entry) throw Error(entry.name + " is not a kernel");
  return Translator(std::move(module), entry).run();
}

std::string Program::describe(const Instruction& instruction) const {
  const InstructionText& text = parsed[instruction.parsed];
  return module->describe(text.source_line) + " (" + text.opcode + ", PTX line " +
         std::to_string(text.text_line) + ")";
}

std::vector<size_t> Program::syncs() const {
  std::vector<size_t> result;
  for (size_t i = 0; i < code.size(); ++i) {
    if (code[i].is_sync) result.push_back(i);
  }
  return result;
}

Program Program::without(size_t index) const {
  Program result = *this;
  Instruction& gone = result.code.at(index);
  gone = Instruction{};
  gone.parsed = code[index].parsed;
  gone.issue_slots = 0;
  gone.run = [](Warp&, const Instruction&) {};
  return result;
}

}  // namespace ptx
