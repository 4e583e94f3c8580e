#pragma once
// What the machine throws when it is given something it cannot run: unknown PTX, a wrong launch. What a
// kernel does wrong while it runs is not thrown but reported (report.h).

#include <stdexcept>

namespace ptx {

class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace ptx
