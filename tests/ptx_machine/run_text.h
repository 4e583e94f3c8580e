#pragma once
// Small PTX kernels for the tests of the machine itself.

#include <memory>
#include <string>
#include <vector>

#include "tests/ptx_machine/machine.h"

namespace ptx::testing {

/// A kernel `k` of these parameters (each .u64) and body, after declarations of registers: %h 16 bits, %r 32,
/// %q 64, %f float, %d double, %p predicates, twenty each.
inline Program kernel_of(const std::string& parameters, const std::string& body,
                         const std::string& declarations = "") {
  std::string text =
      ".version 8.0\n.target sm_90\n.address_size 64\n" + declarations + "\n.visible .entry k(";
  std::string loads;
  size_t begin = 0;
  for (int i = 0; begin < parameters.size(); ++i) {
    const size_t end = std::min(parameters.find(' ', begin), parameters.size());
    const std::string name = parameters.substr(begin, end - begin);
    text += (i > 0 ? ", " : "") + std::string(".param .u64 ") + name;
    loads += "ld.param.u64 %" + name + ", [" + name + "];\n";
    begin = end + 1;
  }
  text +=
      ")\n{\n.reg .pred %p<20>; .reg .b16 %h<20>; .reg .b32 %r<20>; .reg .b64 %q<20>; .reg .f32 %f<20>; .reg "
      ".f64 %d<20>;\n";
  for (begin = 0; begin < parameters.size();) {
    const size_t end = std::min(parameters.find(' ', begin), parameters.size());
    text += ".reg .b64 %" + parameters.substr(begin, end - begin) + ";\n";
    begin = end + 1;
  }
  text += loads + body + "\nret;\n}\n";
  return translate(std::make_shared<Module>(parse(text)), "k");
}

/// 32 lanes, one word each of input and output: `body` computes %r0 from %r1 (the input) and %r2 (the lane).
inline std::vector<uint32_t> run_warp(const std::string& body, std::vector<uint32_t> input,
                                      std::string* reports = nullptr, const std::string& declarations = "") {
  const Program program = kernel_of("in out", R"(
    mov.u32 %r2, %tid.x;
    mul.wide.u32 %q1, %r2, 4;
    add.s64 %q2, %in, %q1;
    add.s64 %q3, %out, %q1;
    ld.global.u32 %r1, [%q2];
    )" + body + "\nst.global.u32 [%q3], %r0;",
                                    declarations);
  std::vector<uint32_t> output(input.size());
  GlobalMemory memory;
  const auto* in = memory.add("in", std::span<const uint32_t>(input), Access::read_only);
  auto* out = memory.add("out", std::span<uint32_t>(output), Access::write_first);
  const Outcome outcome =
      run(program, {{1, 1, 1}, {static_cast<uint32_t>(input.size()), 1, 1}, 0, arguments(in, out)}, memory);
  if (reports != nullptr) *reports = outcome.reports_text();
  return output;
}

}  // namespace ptx::testing
