#!/usr/bin/env bash
# test_aarch64.sh DOCTEST_INCLUDE_FOLDER: compiles the vectorized functions, without any instruction set of x86, for AArch64, and runs
# their tests under QEMU. Says TEST_SKIPPED where Debian's cross compiler or QEMU is not installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
compiler=aarch64-linux-gnu-g++
emulator=qemu-aarch64-static
if ! command -v "$compiler" >/dev/null || ! command -v "$emulator" >/dev/null; then
  echo "TEST_SKIPPED: needs $compiler and $emulator"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/include"
ln -s "$1/doctest" "$folder/include/doctest"
flags=(-std=c++20 -O3 -Wall -Wextra -Wshadow -Werror -ffp-contract=off -fopenmp-simd -I. -isystem "$folder/include")

for source in tile_kernels row_kernels scan_kernels int8_products bf16_tile_kernels; do
  "$compiler" "${flags[@]}" -DGCA_ISA=baseline -c "kernels/common/$source.cpp" -o "$folder/$source.o"
done
"$compiler" "${flags[@]}" -DGCA_ISA=amx_emulated -DGCA_EMULATES_TILE_REGISTERS -c kernels/common/bf16_tile_kernels.cpp \
  -o "$folder/amx_emulated.o"
printf '#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN\n#include <doctest/doctest.h>\n' >"$folder/main.cpp"
"$compiler" "${flags[@]}" -O1 -static "$folder/main.cpp" kernels/common/{instruction_set,implementation}.cpp \
  tests/kernels/test_{tile_kernels,bf16_tile_kernels,instruction_set}.cpp "$folder"/*.o -o "$folder/test"
"$emulator" "$folder/test"
