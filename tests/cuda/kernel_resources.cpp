#include "tests/cuda/kernel_resources.h"

#include <fstream>
#include <regex>
#include <stdexcept>

namespace gca::testing {

std::vector<KernelResources> kernel_resources(const std::string& file) {
  const std::string path = std::string(GCA_CUDA_OBJECT_DIR) + "/" + file + ".o.txt";
  std::ifstream log(path);
  if (!log) throw std::runtime_error("no " + path);
  static const std::regex kEntry("Compiling entry function '([^']+)' for '([^']+)'");
  static const std::regex kSpills("([0-9]+) bytes spill stores, ([0-9]+) bytes spill loads");
  static const std::regex kRegisters("Used ([0-9]+) registers");
  std::vector<KernelResources> result;
  for (std::string line; std::getline(log, line);) {
    std::smatch match;
    if (std::regex_search(line, match, kEntry)) {
      result.push_back({match[1], match[2], 0, 0});
    } else if (!result.empty() && std::regex_search(line, match, kSpills)) {
      result.back().spilled_bytes = std::stoi(match[1]) + std::stoi(match[2]);
    } else if (!result.empty() && std::regex_search(line, match, kRegisters)) {
      result.back().registers = std::stoi(match[1]);
    }
  }
  return result;
}

KernelResources resources_of(const std::string& file, const std::string& kernel,
                             const std::string& architecture) {
  for (const KernelResources& resources : kernel_resources(file)) {
    if (resources.architecture == architecture && resources.kernel.find(kernel) != std::string::npos)
      return resources;
  }
  throw std::runtime_error("the assembler's log of " + file + " has no " + kernel + " for " + architecture);
}

}  // namespace gca::testing
