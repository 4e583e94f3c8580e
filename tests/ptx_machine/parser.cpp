#include <algorithm>
#include <cstring>
#include <set>
#include <tuple>

#include "tests/ptx_machine/lexer.h"
#include "tests/ptx_machine/ptx_error.h"
#include "tests/ptx_machine/syntax.h"

namespace ptx {
namespace {

const std::set<std::string_view> kSpecialRegisters = {"%tid.x",
                                                      "%tid.y",
                                                      "%tid.z",
                                                      "%ntid.x",
                                                      "%ntid.y",
                                                      "%ntid.z",
                                                      "%ctaid.x",
                                                      "%ctaid.y",
                                                      "%ctaid.z",
                                                      "%nctaid.x",
                                                      "%nctaid.y",
                                                      "%nctaid.z",
                                                      "%laneid",
                                                      "%warpid",
                                                      "%nwarpid",
                                                      "%lanemask_eq",
                                                      "%lanemask_le",
                                                      "%lanemask_lt",
                                                      "%lanemask_ge",
                                                      "%lanemask_gt",
                                                      "%smid",
                                                      "%dynamic_smem_size",
                                                      "%total_smem_size",
                                                      "%cluster_ctarank",
                                                      "%cluster_nctarank"};

int64_t size_of_type(std::string_view type) {
  if (type == "pred") return 1;
  const size_t digit = type.find_first_of("0123456789");
  if (digit == std::string_view::npos) throw Error("unknown type " + std::string(type));
  const int bits = std::stoi(std::string(type.substr(digit)));
  return type.ends_with("x2") && type != "b32" ? 2 * bits / 8 : bits / 8;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : tokens_(tokenize(text)) {}

  Module run() {
    while (peek().kind != TokenKind::end) module_item();
    return std::move(module_);
  }

 private:
  // ---- tokens
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(place_ + ahead, tokens_.size() - 1)]; }
  const Token& take() { return tokens_[place_ < tokens_.size() - 1 ? place_++ : place_]; }
  bool accept(std::string_view text) {
    if (!peek().is(text)) return false;
    take();
    return true;
  }
  void expect(std::string_view text) {
    if (!accept(text)) fail("expected '" + std::string(text) + "'");
  }
  std::string take_name() {
    if (peek().kind != TokenKind::name) fail("expected a name");
    return std::string(take().text);
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error("PTX line " + std::to_string(peek().line) + ": " + what + " at '" + std::string(peek().text) +
                "'");
  }
  void skip_line() {
    for (const int line = peek().line; peek().line == line && peek().kind != TokenKind::end;) take();
  }
  int64_t take_integer() {
    const bool negative = accept("-");
    if (peek().kind != TokenKind::integer) fail("expected a number");
    const auto value = static_cast<int64_t>(take().value);
    return negative ? -value : value;
  }

  // ---- the module
  void module_item() {
    if (peek().is(".version") || peek().is(".address_size")) return skip_line();
    if (accept(".target")) {
      module_.target = take_name();
      while (accept(",")) take();
      return;
    }
    if (peek().is(".file")) return file_directive();
    if (peek().is(".section")) return section();
    linkage();
    if (peek().is(".entry") || peek().is(".func")) return function();
    if (is_space(peek())) {
      module_.variables.push_back(variable());
      expect(";");
      return;
    }
    fail("unknown directive");
  }

  void linkage() {
    while (peek().is(".visible") || peek().is(".extern") || peek().is(".weak") || peek().is(".common"))
      take();
  }

  void file_directive() {
    const int line = take().line;
    const auto number = static_cast<int>(take_integer());
    module_.files[number] = std::string(take().text);
    while (peek().line == line && peek().kind != TokenKind::end) take();
  }

  void section() {
    take();
    take_name();
    expect("{");
    for (int depth = 1; depth > 0;) {
      if (peek().kind == TokenKind::end) fail("section without end");
      const Token& token = take();
      depth += token.is("{") ? 1 : token.is("}") ? -1 : 0;
    }
  }

  static bool is_space(const Token& token) {
    return token.is(".param") || token.is(".shared") || token.is(".local") || token.is(".global") ||
           token.is(".const");
  }

  Variable variable() {
    Variable result;
    const std::string space = take_name();
    result.space = space == ".param"    ? StateSpace::param
                   : space == ".shared" ? StateSpace::shared
                   : space == ".local"  ? StateSpace::local
                   : space == ".const"  ? StateSpace::constant
                                        : StateSpace::global;
    int64_t element_bytes = 0;
    int64_t vector_length = 1;
    while (peek().kind == TokenKind::name && peek().text[0] == '.') {
      const std::string word = take_name();
      if (word == ".align") {
        result.alignment = take_integer();
      } else if (word == ".ptr") {  // .param .u64 .ptr .global .align 1 name: what the pointer points to
        while (peek().kind == TokenKind::name && peek().text[0] == '.')
          if (take_name() == ".align") take_integer();
      } else if (word == ".v2" || word == ".v4") {
        vector_length = word[2] - '0';
      } else {
        element_bytes = size_of_type(word.substr(1)) * vector_length;
      }
    }
    result.alignment = std::max(result.alignment, std::min<int64_t>(element_bytes, 16));
    result.name = take_name();
    int64_t count = 1;
    while (accept("[")) {
      count *= peek().is("]") ? 0 : take_integer();
      expect("]");
    }
    result.size_bytes = count * element_bytes;
    if (accept("=")) initial_content(result, element_bytes);
    return result;
  }

  void initial_content(Variable& variable, int64_t element_bytes) {
    const auto append = [&] {
      const bool negative = accept("-");
      const Token& token = take();
      uint64_t value = token.value;
      if (token.kind != TokenKind::integer && token.kind != TokenKind::float32 &&
          token.kind != TokenKind::float64)
        fail("an initial value that is not a number");
      if (negative) value = -value;
      for (int64_t byte = 0; byte < element_bytes; ++byte)
        variable.initial_content.push_back(static_cast<uint8_t>(value >> (8 * byte)));
    };
    if (!accept("{")) {
      append();
    } else {
      do append();
      while (accept(","));
      expect("}");
    }
    variable.initial_content.resize(static_cast<size_t>(variable.size_bytes));
  }

  // ---- functions
  void function() {
    Function result;
    result.is_entry = take().is(".entry");
    if (!result.is_entry && peek().is("(")) result.results = parameter_list();
    result.name = take_name();
    if (peek().is("(")) result.parameters = parameter_list();
    while (!peek().is("{")) {   // .maxntid 128, 1, 1  .minnctapersm 2  .noreturn ...
      if (accept(";")) return;  // declared, not defined
      if (peek().kind == TokenKind::end) fail("function without body");
      take();
    }
    function_ = &result;
    source_line_ = -1;
    scopes_.assign(1, {});
    take();
    while (!peek().is("}")) statement();
    take();
    close_scope();
    function_ = nullptr;
    module_.functions.push_back(std::move(result));
  }

  std::vector<Variable> parameter_list() {
    std::vector<Variable> result;
    expect("(");
    while (!accept(")")) {
      result.push_back(variable());
      accept(",");
    }
    return result;
  }

  void statement() {
    const Token& token = peek();
    if (token.kind == TokenKind::end) fail("function without end");
    if (accept(";")) return;
    if (accept("{")) {
      scopes_.emplace_back();
      while (!peek().is("}")) statement();
      take();
      close_scope();
      return;
    }
    if (token.is(".loc")) return location();
    if (token.is(".pragma")) {
      while (!accept(";")) take();
      return;
    }
    if (token.is(".reg")) return register_declaration();
    if (is_space(token)) {
      Variable declared = variable();
      expect(";");
      // A scope of its own may declare a name again (param0 of every call): make it unique.
      const std::string unique = declared.name + "#" + std::to_string(function_->variables.size());
      scopes_.back().variables[declared.name] = scopes_.size() > 1 ? unique : declared.name;
      if (scopes_.size() > 1) declared.name = unique;
      function_->variables.push_back(std::move(declared));
      return;
    }
    if (token.kind == TokenKind::name && peek(1).is(":")) {
      scopes_.back().labels[std::string(take().text)] = static_cast<uint32_t>(function_->instructions.size());
      take();
      return;
    }
    instruction();
  }

  void location() {
    take();
    SourceLine here;
    const int text_line = peek().line;
    here.file = static_cast<int>(take_integer());
    here.line = static_cast<int>(take_integer());
    here.column = static_cast<int>(take_integer());
    while (peek().line == text_line) {
      if (take().is("inlined_at")) {
        const auto file = static_cast<int>(take_integer());
        const auto line = static_cast<int>(take_integer());
        const auto column = static_cast<int>(take_integer());
        const auto found = known_lines_.find({file, line, column});
        here.caller = found == known_lines_.end() ? add_line({file, line, column, -1}) : found->second;
      }
    }
    source_line_ = add_line(here);
  }

  int add_line(const SourceLine& line) {
    module_.source_lines.push_back(line);
    const auto index = static_cast<int>(module_.source_lines.size()) - 1;
    known_lines_[{line.file, line.line, line.column}] = index;
    return index;
  }

  void register_declaration() {
    take();
    const std::string type = take_name().substr(1);
    do {
      const std::string name = take_name();
      int64_t count = -1;
      if (accept("<")) {
        count = take_integer();
        expect(">");
      }
      const auto first = static_cast<uint32_t>(function_->register_types.size());
      for (int64_t i = 0; i < std::max<int64_t>(count, 1); ++i) {
        function_->register_types.push_back(type);
        function_->register_names.push_back(count < 0 ? name : name + std::to_string(i));
        scopes_.back().registers[function_->register_names.back()] = first + static_cast<uint32_t>(i);
      }
    } while (accept(","));
    expect(";");
  }

  // ---- instructions
  struct LabelUse {
    uint32_t instruction;
    uint32_t operand;
    std::string name;
  };
  struct Scope {
    std::map<std::string, uint32_t, std::less<>> registers;
    std::map<std::string, uint32_t, std::less<>> labels;
    std::map<std::string, std::string, std::less<>> variables;
    std::vector<LabelUse> label_uses;
  };

  void close_scope() {
    Scope closed = std::move(scopes_.back());
    scopes_.pop_back();
    for (LabelUse& use : closed.label_uses) {
      const auto found = closed.labels.find(use.name);
      if (found == closed.labels.end()) {
        if (!scopes_.empty()) scopes_.back().label_uses.push_back(std::move(use));
        continue;  // a name of the module: a variable or function
      }
      Operand& operand = function_->instructions[use.instruction].operands[use.operand];
      operand.kind = Operand::Kind::label;
      operand.index = found->second;
    }
  }

  int find_register(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->registers.find(name);
      if (found != scope->registers.end()) return static_cast<int>(found->second);
    }
    return -1;
  }

  void instruction() {
    ParsedInstruction result;
    result.text_line = peek().line;
    result.source_line = source_line_;
    if (accept("@")) {
      result.guard_negated = accept("!");
      result.guard = find_register(peek().text);
      if (result.guard < 0) fail("unknown predicate");
      take();
    }
    result.opcode = take_name();
    const bool is_call = result.opcode.starts_with("call");
    const auto index = static_cast<uint32_t>(function_->instructions.size());
    while (!peek().is(";")) {
      const auto place = static_cast<uint32_t>(result.operands.size());
      result.operands.push_back(is_call && peek().is("(") ? call_arguments() : operand());
      const Operand& last = result.operands.back();
      if (last.kind == Operand::Kind::symbol) scopes_.back().label_uses.push_back({index, place, last.name});
      if (!accept(",") && !peek().is(";")) fail("expected ',' or ';'");
    }
    take();
    function_->instructions.push_back(std::move(result));
  }

  Operand call_arguments() {
    Operand result;
    result.kind = Operand::Kind::call_args;
    expect("(");
    while (!accept(")")) {
      result.elements.push_back(operand());
      accept(",");
    }
    return result;
  }

  Operand operand() {
    if (accept("{")) {
      Operand result;
      result.kind = Operand::Kind::vector;
      while (!accept("}")) {
        result.elements.push_back(operand());
        accept(",");
      }
      return result;
    }
    if (accept("[")) return address();
    Operand result = scalar();
    if (accept("|")) result.second.push_back(scalar());
    return result;
  }

  /// [base], [base+offset], [base, {coordinates}], [base, {coordinates}], [barrier] of the tensor copies.
  Operand address() {
    Operand result;
    result.kind = Operand::Kind::address;
    result.elements.push_back(scalar());
    if (accept("+"))
      result.bits = static_cast<uint64_t>(take_integer());
    else if (peek().is("-"))
      result.bits = static_cast<uint64_t>(take_integer());
    if (accept(",")) result.elements.push_back(operand());
    expect("]");
    return result;
  }

  Operand scalar() {
    Operand result;
    result.negated = accept("!");
    if (peek().kind == TokenKind::integer || peek().is("-")) {
      result.kind = Operand::Kind::integer;
      result.bits = static_cast<uint64_t>(take_integer());
      return result;
    }
    if (peek().kind == TokenKind::float32 || peek().kind == TokenKind::float64) {
      result.kind = peek().kind == TokenKind::float32 ? Operand::Kind::float32 : Operand::Kind::float64;
      result.bits = take().value;
      return result;
    }
    if (peek().kind != TokenKind::name) fail("expected an operand");
    const std::string_view name = peek().text;
    const int reg = find_register(name);
    if (name == "_") {
      result.kind = Operand::Kind::sink;
    } else if (reg >= 0) {
      result.kind = Operand::Kind::reg;
      result.index = static_cast<uint32_t>(reg);
    } else if (kSpecialRegisters.contains(name)) {
      result.kind = Operand::Kind::special;
    } else if (name[0] == '%') {
      fail("unknown register");
    } else {
      result.kind = Operand::Kind::symbol;
    }
    result.name = std::string(name);
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->variables.find(name);
      if (found == scope->variables.end()) continue;
      result.name = found->second;
      break;
    }
    take();
    return result;
  }

  std::vector<Token> tokens_;
  size_t place_ = 0;
  Module module_;
  Function* function_ = nullptr;
  std::vector<Scope> scopes_;
  int source_line_ = -1;
  std::map<std::tuple<int, int, int>, int> known_lines_;
};

}  // namespace

Module parse(std::string_view text) {
  return Parser(text).run();
}

const Function& Module::find(std::string_view name) const {
  const Function* result = nullptr;
  for (const Function& function : functions) {
    if (function.name == name) return function;
    if (!function.is_entry || function.name.find(name) == std::string::npos) continue;
    if (result != nullptr)
      throw Error("several kernels are called " + std::string(name) + ": " + result->name + ", " +
                  function.name);
    result = &function;
  }
  if (result == nullptr) throw Error("no kernel " + std::string(name) + " in the module");
  return *result;
}

std::string Module::describe(int source_line) const {
  std::string result;
  for (int i = source_line; i >= 0; i = source_lines[static_cast<size_t>(i)].caller) {
    const SourceLine& line = source_lines[static_cast<size_t>(i)];
    const auto file = files.find(line.file);
    std::string name = file == files.end() ? "?" : file->second;
    name = name.substr(name.rfind('/') + 1);
    if (!result.empty()) result += " < ";
    result += name + ":" + std::to_string(line.line);
  }
  return result.empty() ? "unknown line" : result;
}

}  // namespace ptx
