#pragma once
// The warpgroup's instructions for matrices (Hopper, sm_90a): wgmma, asynchronous products of 64 rows by four
// warps.
//
// Warp i of the warpgroup holds rows 16 i to 16 i + 15 of A and of the accumulator D as it does for
// mma.m16n8k16 (tensor_core.cuh), so D of one product is, rounded and packed, A of the next. B lies in shared
// memory: panels of 64 columns, rows of 128 bytes, whose units of 16 bytes are where SharedTile<64> has them:
// the 128-byte swizzle of the hardware, for tiles at multiples of 1024 bytes.
//
// Registers of a product belong to the hardware from its issue to the wait: the compiler is kept from
// touching them by hold(), after they are written and after the wait.

#include <cstdint>

#include "kernels/common/cuda/shared_tile.cuh"

namespace gca::cuda {

/// B of a product in shared memory: its descriptor is `low`, that of a tile or of a step within it, and a
/// word that is the same for all.
struct SharedOperand {
  uint32_t low;  // address / 16, and the distance of panels / 16 from bit 16 on

  __device__ __forceinline__ explicit SharedOperand(uint32_t tile) : low(tile / 16) {}
  /// A tile of panels `panel_bytes` apart that lies `bytes` behind this one.
  __device__ __forceinline__ SharedOperand behind(uint32_t bytes, uint32_t panel_bytes) const {
    SharedOperand other = *this;
    other.low += bytes / 16 + (panel_bytes / 16 << 16);
    return other;
  }
  __device__ __forceinline__ uint64_t at(uint32_t bytes) const {
    constexpr uint32_t kHigh = 1U << 30 | 1024 / 16;  // swizzle of 128 bytes, eight rows are 1024 bytes
    uint64_t descriptor;
    asm("mov.b64 %0, {%1, %2};" : "=l"(descriptor) : "r"(low + bytes / 16), "n"(kHigh));
    return descriptor;
  }
};

/// Makes writes by st.shared and cp.async (waited for) visible to products, with a barrier behind it.
__device__ __forceinline__ void fence_shared_for_products() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Between what touches registers and the products that use them.
__device__ __forceinline__ void fence_registers_for_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

/// A value that the compiler shall keep, not compute again where it is used.
__device__ __forceinline__ void hold(uint32_t& x) {
  asm volatile("" : "+r"(x));
}
__device__ __forceinline__ void hold(int& x) {
  asm volatile("" : "+r"(x));
}
__device__ __forceinline__ void hold(float& x) {
  asm volatile("" : "+f"(x));
}
template <class T>
__device__ __forceinline__ void hold(T*& x) {
  asm volatile("" : "+l"(x));
}
template <int kTiles>
__device__ __forceinline__ void hold(float (&d)[kTiles][4]) {
#pragma unroll
  for (int j = 0; j < kTiles; ++j)
    asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
}
template <int kSteps>
__device__ __forceinline__ void hold(uint32_t (&a)[kSteps][4]) {
#pragma unroll
  for (int i = 0; i < kSteps; ++i)
    asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])::"memory");
}

/// Four 8 x 8 matrices to shared memory; lanes 8i ... 8i + 7 give the rows of matrix i.
__device__ __forceinline__ void store_matrices(uint32_t address, uint32_t a, uint32_t b, uint32_t c,
                                               uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(a), "r"(b),
               "r"(c), "r"(d)
               : "memory");
}

// The instruction for N columns: D's N / 2 registers are operands 0 ..., then A, B, whether it adds to D,
// whether B's rows are k (the layout is called transposed).
#define GCA_FLOATS_1(how, j) how(d[j][0]), how(d[j][1]), how(d[j][2]), how(d[j][3])
#define GCA_FLOATS_2(how, j) GCA_FLOATS_1(how, j), GCA_FLOATS_1(how, j + 1)
#define GCA_FLOATS_4(how, j) GCA_FLOATS_2(how, j), GCA_FLOATS_2(how, j + 2)
#define GCA_FLOATS_8(how, j) GCA_FLOATS_4(how, j), GCA_FLOATS_4(how, j + 4)
#define GCA_FLOATS_16(how, j) GCA_FLOATS_8(how, j), GCA_FLOATS_8(how, j + 8)
#define GCA_WGMMA(columns, tiles, how, list, a0, a1, a2, a3, operand, adds, transposed)                \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, " adds                                          \
               ", 0;\nwgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" list "}, {" a0 \
               "," a1 "," a2 "," a3 "}, " operand ", adds, 1, 1, " transposed ";\n}"                   \
               : GCA_FLOATS_##tiles(how, 0)                                                            \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kAdds), "n"(kTransposed))
#define GCA_LIST_16 "%0,%1,%2,%3,%4,%5,%6,%7"
#define GCA_LIST_32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define GCA_LIST_64                                        \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define GCA_LIST_128                                                 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"           \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

/// D = A B, or D += A B with kAdds: 64 x kColumns, A 64 x 16. B's rows are its columns (as of K in q k^T), or
/// k where kTransposed (as of V in p V).
template <int kColumns, bool kTransposed, bool kAdds>
__device__ __forceinline__ void multiply(float (&d)[kColumns / 8][4], const uint32_t (&a)[4], uint64_t b) {
  static_assert(kColumns == 16 || kColumns == 32 || kColumns == 64 || kColumns == 128);
#define GCA_ADDS "+f"
#define GCA_BEGINS "=f"
  if constexpr (kColumns == 16 && kAdds)
    GCA_WGMMA(16, 2, GCA_ADDS, GCA_LIST_16, "%8", "%9", "%10", "%11", "%12", "%13", "%14");
  if constexpr (kColumns == 16 && !kAdds)
    GCA_WGMMA(16, 2, GCA_BEGINS, GCA_LIST_16, "%8", "%9", "%10", "%11", "%12", "%13", "%14");
  if constexpr (kColumns == 32 && kAdds)
    GCA_WGMMA(32, 4, GCA_ADDS, GCA_LIST_32, "%16", "%17", "%18", "%19", "%20", "%21", "%22");
  if constexpr (kColumns == 32 && !kAdds)
    GCA_WGMMA(32, 4, GCA_BEGINS, GCA_LIST_32, "%16", "%17", "%18", "%19", "%20", "%21", "%22");
  if constexpr (kColumns == 64 && kAdds)
    GCA_WGMMA(64, 8, GCA_ADDS, GCA_LIST_64, "%32", "%33", "%34", "%35", "%36", "%37", "%38");
  if constexpr (kColumns == 64 && !kAdds)
    GCA_WGMMA(64, 8, GCA_BEGINS, GCA_LIST_64, "%32", "%33", "%34", "%35", "%36", "%37", "%38");
  if constexpr (kColumns == 128 && kAdds)
    GCA_WGMMA(128, 16, GCA_ADDS, GCA_LIST_128, "%64", "%65", "%66", "%67", "%68", "%69", "%70");
  if constexpr (kColumns == 128 && !kAdds)
    GCA_WGMMA(128, 16, GCA_BEGINS, GCA_LIST_128, "%64", "%65", "%66", "%67", "%68", "%69", "%70");
#undef GCA_ADDS
#undef GCA_BEGINS
}

#undef GCA_WGMMA
#undef GCA_FLOATS_1
#undef GCA_FLOATS_2
#undef GCA_FLOATS_4
#undef GCA_FLOATS_8
#undef GCA_FLOATS_16
#undef GCA_LIST_16
#undef GCA_LIST_32
#undef GCA_LIST_64
#undef GCA_LIST_128

}  // namespace gca::cuda
