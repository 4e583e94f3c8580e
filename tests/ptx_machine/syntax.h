#pragma once
// A PTX module as it is written: declarations, functions, instructions with their operands. Names of
// registers, labels and functions' own variables are resolved (they have scopes); opcodes are still text.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ptx {

enum class StateSpace { param, shared, local, global, constant };

/// A variable of memory: parameter, .shared, .local, .global or .const.
struct Variable {
  std::string name;
  StateSpace space = StateSpace::global;
  int64_t alignment = 1;
  int64_t size_bytes = 0;                // 0: as large as the launch says (.extern .shared)
  std::vector<uint8_t> initial_content;  // .global and .const with values
};

struct Operand {
  enum class Kind {
    reg,      // index: into Function::register_types
    special,  // name: %tid.x, %laneid, ...
    integer,  // bits, sign-extended to 64
    float32,  // bits
    float64,  // bits
    symbol,   // name: a variable or function
    label,    // index: of the instruction jumped to
    vector,   // elements
    address,  // elements[0] is the base (reg, symbol or integer), bits the offset, elements[1...] coordinates
    call_args,  // elements
    sink,       // _
  };
  Kind kind = Kind::sink;
  uint32_t index = 0;
  uint64_t bits = 0;
  bool negated = false;  // !%p
  std::string name;
  std::vector<Operand> elements;
  std::vector<Operand> second;  // q of p|q, none or one
};

/// Where an instruction comes from; `caller` chains what the compiler inlined, -1 for none.
struct SourceLine {
  int file = 0;
  int line = 0;
  int column = 0;
  int caller = -1;
};

struct ParsedInstruction {
  std::string opcode;  // with its modifiers
  std::vector<Operand> operands;
  int guard = -1;  // register of @p
  bool guard_negated = false;
  int source_line = -1;  // into Module::source_lines
  int text_line = 0;     // of the PTX
};

struct Function {
  std::string name;
  bool is_entry = false;
  std::vector<Variable> parameters;
  std::vector<Variable> results;
  std::vector<Variable> variables;          // declared in the body
  std::vector<std::string> register_types;  // "f32", "pred", ... of every register
  std::vector<std::string> register_names;
  std::vector<ParsedInstruction> instructions;
};

struct Module {
  std::string target;  // "sm_80"
  std::vector<Variable> variables;
  std::vector<Function> functions;
  std::vector<SourceLine> source_lines;
  std::map<int, std::string> files;

  /// The function whose name is, or contains, `name`; an error when none or several do.
  const Function& find(std::string_view name) const;
  /// "kernel.cu:12", with the callers of inlined code after it.
  std::string describe(int source_line) const;
};

/// Throws Error that names the line.
Module parse(std::string_view text);

}  // namespace ptx
