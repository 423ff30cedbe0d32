// What the kernels want of a GPU beyond CUDA's own words. `twin.h` has the same for a CPU; the two are kept alike.
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using Half = __half;
using Bfloat = __nv_bfloat16;

// Two numbers side by side, the first in the low half, as tensor cores take their factors.
template <typename Number>
struct Pair {
    uint32_t bits;
};

template <typename Number>
__device__ __forceinline__ Number rounded(float number);
template <>
__device__ __forceinline__ float rounded(float number) {
    return number;
}
template <>
__device__ __forceinline__ Half rounded(float number) {
    return __float2half_rn(number);
}
template <>
__device__ __forceinline__ Bfloat rounded(float number) {
    return __float2bfloat16_rn(number);
}

// From memory, at an even place.
template <typename Number>
__device__ __forceinline__ Pair<Number> load_pair(const Number* numbers) {
    return {*reinterpret_cast<const uint32_t*>(numbers)};
}

template <typename Number>
__device__ __forceinline__ Pair<Number> join_pair(Number low, Number high) {
    uint16_t halves[2];
    memcpy(&halves[0], &low, 2);
    memcpy(&halves[1], &high, 2);
    return {static_cast<uint32_t>(halves[1]) << 16 | halves[0]};
}

template <typename Number>
__device__ __forceinline__ Pair<Number> round_pair(float low, float high) {
    return join_pair(rounded<Number>(low), rounded<Number>(high));
}

// A warp's product of 16 x 16 and 16 x 8 numbers onto 16 x 8 sums.
#define MULTIPLY_ADD(NUMBER, WORD)                                                                                         \
    __device__ __forceinline__ void multiply_add(                                                                          \
        float (&sums)[4], const Pair<NUMBER> (&left)[4], const Pair<NUMBER> (&right)[2]) {                                 \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." WORD "." WORD ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "          \
                     "{%8,%9}, {%0,%1,%2,%3};"                                                                             \
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                          \
                     : "r"(left[0].bits), "r"(left[1].bits), "r"(left[2].bits), "r"(left[3].bits), "r"(right[0].bits),     \
                       "r"(right[1].bits));                                                                                \
    }
MULTIPLY_ADD(Half, "f16")
MULTIPLY_ADD(Bfloat, "bf16")
#undef MULTIPLY_ADD

// A number of another lane of this warp.
__device__ __forceinline__ float from_lane(float number, int lane) { return __shfl_sync(0xffffffffu, number, lane); }

// Of the lane whose number differs in these bits.
__device__ __forceinline__ float from_neighbour(float number, int bits) {
    return __shfl_xor_sync(0xffffffffu, number, bits);
}
