// A stand-in for a GPU, so that a host compiler builds the kernels' own text: CUDA's words, and what `gpu.cuh` adds to them.
//
// Every thread of a block is a fiber. A fiber runs until it waits for its block or its warp, then another does; the order is
// drawn anew each time, so that a barrier that is missing gives another answer for another seed, and one that not all threads
// reach ends the program. Tensor cores are plain sums over the factors where the PTX ISA (mma.m16n8k16) says they lie. What it
// cannot show: speed, reads a little past a tensor's end, and whatever is up to the hardware.
#pragma once
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

struct Index {
    unsigned x, y, z;
};
inline Index threadIdx, blockIdx;

namespace twin {

constexpr int LANES = 32;
constexpr size_t STACK_BYTES = 128 * 1024;

enum class Waits { Nothing, Warp, Block, Done };

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK_BYTES);
    Waits waits = Waits::Nothing;
};

// What lanes of a warp show each other between two waits: up to six pairs of numbers each.
struct Shown {
    float numbers[LANES][12];
};

inline std::vector<std::unique_ptr<Fiber>> fibers;
inline std::vector<Shown> shown;
inline ucontext_t outside;
inline unsigned current;
inline std::function<void()> kernel;
inline std::mt19937 chance;

inline void wait(Waits reason) {
    Fiber& fiber = *fibers[current];
    fiber.waits = reason;
    swapcontext(&fiber.context, &outside);
}

inline void enter() {
    kernel();
    wait(Waits::Done);
}

// Lets those go on of whom all wait for the same; says whether there were any.
inline bool release(size_t first, size_t count, Waits reason) {
    for (size_t i = first; i < first + count; i++) {
        if (fibers[i]->waits != reason) return false;
    }
    for (size_t i = first; i < first + count; i++) fibers[i]->waits = Waits::Nothing;
    return true;
}

// Runs one block of so many threads to its end.
inline void run_block(unsigned threads) {
    fibers.clear();
    shown.assign(threads / LANES, Shown{});
    std::vector<unsigned> order;
    for (unsigned i = 0; i < threads; i++) {
        fibers.push_back(std::make_unique<Fiber>());
        Fiber& fiber = *fibers.back();
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.context, enter, 0);
        order.push_back(i);
    }
    while (!release(0, threads, Waits::Done)) {
        bool moved = false;
        std::shuffle(order.begin(), order.end(), chance);
        for (unsigned i : order) {
            if (fibers[i]->waits != Waits::Nothing) continue;
            current = i;
            threadIdx = {i, 0, 0};
            swapcontext(&outside, &fibers[i]->context);
            moved = true;
        }
        moved |= release(0, threads, Waits::Block);
        for (unsigned warp = 0; warp < threads; warp += LANES) moved |= release(warp, LANES, Waits::Warp);
        if (!moved) {
            fprintf(stderr, "twin: threads of a block wait for what others never reach\n");
            exit(3);
        }
    }
}

// What this lane shows; then what any lane of its warp showed.
inline Shown show(const float* numbers, int count) {
    Shown& board = shown[current / LANES];
    for (int i = 0; i < count; i++) board.numbers[current % LANES][i] = numbers[i];
    wait(Waits::Warp);
    const Shown seen = board;
    wait(Waits::Warp);
    return seen;
}

// To so many bits, ties to even; `least` is the power of 2 of the smallest step, `most` of the first number too large.
inline float round_to(float number, int bits, int least, int most) {
    if (!std::isfinite(number)) return number;
    int power;
    std::frexp(number, &power);
    const int step = std::max(power - bits, least);
    const float near = std::ldexp(std::nearbyint(std::ldexp(number, -step)), step);
    return std::fabs(near) >= std::ldexp(1.0, most) ? std::copysign(INFINITY, number) : near;
}

}  // namespace twin

inline void __syncthreads() { twin::wait(twin::Waits::Block); }

// Numbers that are short on a GPU: here as wide as fp32, but rounded.
struct Half {
    float number;
};
struct Bfloat {
    float number;
};

template <typename Number>
Number rounded(float number);
template <>
inline float rounded(float number) {
    return number;
}
template <>
inline Half rounded(float number) {
    return {twin::round_to(number, 11, -24, 16)};
}
template <>
inline Bfloat rounded(float number) {
    return {twin::round_to(number, 8, -133, 128)};
}

template <typename Number>
struct Pair {
    float low, high;
};

template <typename Number>
Pair<Number> join_pair(Number low, Number high) {
    return {low.number, high.number};
}

template <typename Number>
Pair<Number> load_pair(const Number* numbers) {
    if (reinterpret_cast<size_t>(numbers) % (2 * sizeof(Number)) != 0) {
        fprintf(stderr, "twin: a pair is read at an odd place\n");
        exit(3);
    }
    return join_pair(numbers[0], numbers[1]);
}

template <typename Number>
Pair<Number> round_pair(float low, float high) {
    return join_pair(rounded<Number>(low), rounded<Number>(high));
}

template <typename Number>
void multiply_add(float (&sums)[4], const Pair<Number> (&left)[4], const Pair<Number> (&right)[2]) {
    const float mine[12] = {left[0].low,  left[0].high, left[1].low,  left[1].high,  left[2].low,  left[2].high,
                            left[3].low,  left[3].high, right[0].low, right[0].high, right[1].low, right[1].high};
    const twin::Shown all = twin::show(mine, 12);
    const unsigned lane = twin::current % twin::LANES;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (unsigned depth = 0; depth < 16; depth++) {
            const unsigned a = 2 * (row / 8 + depth / 8 * 2) + depth % 2, b = 8 + 2 * (depth / 8) + depth % 2;
            sums[i] += all.numbers[row % 8 * 4 + depth % 8 / 2][a] * all.numbers[column * 4 + depth % 8 / 2][b];
        }
    }
}

inline float from_lane(float number, int lane) { return twin::show(&number, 1).numbers[lane][0]; }

inline float from_neighbour(float number, int bits) {
    const unsigned lane = twin::current % twin::LANES;
    return twin::show(&number, 1).numbers[lane ^ static_cast<unsigned>(bits)][0];
}
