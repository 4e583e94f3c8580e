#pragma once
// What the machine found wrong with a kernel.

#include <cstdint>
#include <string>
#include <string_view>

namespace ptx {

enum class Fault {
  out_of_bounds,
  misaligned,
  write_to_read_only,
  uninitialised_register,
  uninitialised_memory,
  shared_race,
  global_race,
  async_in_flight,  // touched before the copy or product was waited for
  missing_fence,    // between accesses that only a fence orders
  bad_membermask,
  divergent_barrier,
  divergent_warpgroup,  // the four warps of a wgmma do not execute the same
  deadlock,
  invalid_operation,  // an operand that the instruction does not allow
};

std::string_view name_of(Fault fault);

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

struct Report {
  Fault fault = Fault::invalid_operation;
  std::string kernel;
  std::string place;  // "kernel.cu:12 (ld.global.u32)"
  Dim3 block;
  uint32_t thread = 0;  // linear within the block
  uint64_t address = 0;
  std::string detail;
  uint64_t times = 1;  // the same fault at the same place, in all threads and blocks

  std::string text() const;
};

}  // namespace ptx
