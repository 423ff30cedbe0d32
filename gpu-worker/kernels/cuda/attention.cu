// Exact attention on a GPU without its matrix of scores: a block of threads holds some queries of one head, walks over the
// keys a tile at a time, and corrects what it gathered so far whenever a tile holds a larger score (online softmax, Milakov
// and Gimelshein 2018; FlashAttention-2, Dao 2023). **Not run on a GPU yet**: a host compiler builds this same text against
// `twin.h`, which stands in for threads, warps and tensor cores, and tests hold that to plain arithmetic.
//
// Tensors are contiguous fp32, (batch, count, heads x width). What is multiplied is rounded to `Number` on its way into shared
// memory; scores, sums and the answer are fp32. A warp owns 16 queries. Its lanes hold scores and answer as the tensor cores'
// accumulators lie (PTX ISA, mma.m16n8k16): lane 4 g + t has columns 8 n + 2 t and the next, of rows g and g + 8.
#ifdef __CUDACC__
#include "gpu.cuh"
#else
#include "twin.h"
#endif

namespace {

constexpr int WARP = 32;
// Rows of queries a warp owns, and columns of one accumulator.
constexpr int ROWS = 16;
constexpr int COLUMNS = 8;
// Static shared memory every GPU grants.
constexpr int SHARED_BYTES = 48 * 1024;
constexpr float LOG2_E = 1.4426950408889634f;

struct Attention {
    const float* queries;
    const float* keys;
    const float* values;
    // (queried, keyed), added to the scores; or null.
    const float* mask;
    float* answer;
    int queried, keyed, heads, width;
};

// One accumulator: [0] and [1] are columns 2 t and 2 t + 1 of row g, [2] and [3] those of row g + 8.
using Tile = float[4];

// What depends on how numbers are multiplied; WIDTH is padded, STRIDE the length of a row in shared memory.
template <typename Number, int WIDTH>
struct Products;

// On tensor cores, 16 numbers deep.
template <typename Number, int WIDTH>
struct OnTensorCores {
    static constexpr int WARPS = 4;
    // With 8 more, rows begin in different banks.
    static constexpr int STRIDE = WIDTH + 8;
    static constexpr int bytes(int keys) { return (WARPS * ROWS + 2 * keys) * STRIDE * 2; }
    static constexpr int KEYS = bytes(64) <= SHARED_BYTES ? 64 : 32;
    static_assert(WIDTH % 16 == 0 && bytes(KEYS) <= SHARED_BYTES, "a block's tiles fit");

    __device__ static void score(const Number* queries, const Number* keys, int lane, Tile (&scores)[KEYS / COLUMNS]) {
        const int g = lane / 4, t = lane % 4;
#pragma unroll
        for (int depth = 0; depth < WIDTH; depth += 16) {
            const Number* row = queries + g * STRIDE + depth + 2 * t;
            const Pair<Number> left[4] = {
                load_pair(row), load_pair(row + 8 * STRIDE), load_pair(row + 8), load_pair(row + 8 * STRIDE + 8)};
#pragma unroll
            for (int n = 0; n < KEYS / COLUMNS; n++) {
                const Number* key = keys + (n * COLUMNS + g) * STRIDE + depth + 2 * t;
                const Pair<Number> right[2] = {load_pair(key), load_pair(key + 8)};
                multiply_add(scores[n], left, right);
            }
        }
    }

    // Two accumulators of weights side by side lie as the left factor of the second product does.
    __device__ static void gather(
        const Tile (&weights)[KEYS / COLUMNS], const Number* values, int lane, Tile (&answer)[WIDTH / COLUMNS]) {
        const int g = lane / 4, t = lane % 4;
#pragma unroll
        for (int depth = 0; depth < KEYS; depth += 16) {
            const Tile& near = weights[depth / COLUMNS];
            const Tile& far = weights[depth / COLUMNS + 1];
            const Pair<Number> left[4] = {
                round_pair<Number>(near[0], near[1]), round_pair<Number>(near[2], near[3]),
                round_pair<Number>(far[0], far[1]), round_pair<Number>(far[2], far[3])};
#pragma unroll
            for (int n = 0; n < WIDTH / COLUMNS; n++) {
                const Number* value = values + (depth + 2 * t) * STRIDE + n * COLUMNS + g;
                const Pair<Number> right[2] = {
                    join_pair(value[0], value[STRIDE]), join_pair(value[8 * STRIDE], value[9 * STRIDE])};
                multiply_add(answer[n], left, right);
            }
        }
    }
};

template <int WIDTH>
struct Products<Half, WIDTH> : OnTensorCores<Half, WIDTH> {};
template <int WIDTH>
struct Products<Bfloat, WIDTH> : OnTensorCores<Bfloat, WIDTH> {};

// By fused multiply-adds, unrounded: tensor cores would keep 10 bits of an fp32's 23.
template <int WIDTH>
struct Products<float, WIDTH> {
    static constexpr int WARPS = 2;
    static constexpr int STRIDE = WIDTH + 4;
    static constexpr int bytes(int keys) { return (WARPS * ROWS + 2 * keys) * STRIDE * 4; }
    static constexpr int KEYS = bytes(32) <= SHARED_BYTES ? 32 : 16;
    static_assert(WIDTH % COLUMNS == 0 && bytes(KEYS) <= SHARED_BYTES, "a block's tiles fit");

    __device__ static void score(const float* queries, const float* keys, int lane, Tile (&scores)[KEYS / COLUMNS]) {
        const int g = lane / 4, t = lane % 4;
#pragma unroll 4
        for (int depth = 0; depth < WIDTH; depth++) {
            const float left[2] = {queries[g * STRIDE + depth], queries[(g + 8) * STRIDE + depth]};
#pragma unroll
            for (int n = 0; n < KEYS / COLUMNS; n++) {
                const float* key = keys + (n * COLUMNS + 2 * t) * STRIDE + depth;
                multiply_add(scores[n], left, key[0], key[STRIDE]);
            }
        }
    }

    __device__ static void gather(
        const Tile (&weights)[KEYS / COLUMNS], const float* values, int lane, Tile (&answer)[WIDTH / COLUMNS]) {
        const int t = lane % 4;
#pragma unroll
        for (int key = 0; key < KEYS; key++) {
            // The lane of the same rows that holds this key's weights.
            const int holder = (lane & ~3) + key % COLUMNS / 2;
            const Tile& held = weights[key / COLUMNS];
            const float left[2] = {from_lane(held[key % 2], holder), from_lane(held[2 + key % 2], holder)};
#pragma unroll
            for (int n = 0; n < WIDTH / COLUMNS; n++) {
                const float* value = values + key * STRIDE + n * COLUMNS + 2 * t;
                multiply_add(answer[n], left, value[0], value[1]);
            }
        }
    }

    __device__ static void multiply_add(Tile& sums, const float (&left)[2], float near, float far) {
        sums[0] = fmaf(left[0], near, sums[0]);
        sums[1] = fmaf(left[0], far, sums[1]);
        sums[2] = fmaf(left[1], near, sums[2]);
        sums[3] = fmaf(left[1], far, sums[3]);
    }
};

// Rows `first` and on of one head's part of a tensor, rounded, with zeros where there are none.
template <typename Number, int COUNT, int WIDTH, int STRIDE, int THREADS>
__device__ void load_rows(const float* tensor, int first, int count, int width, int channels, Number* out) {
    for (int index = threadIdx.x; index < COUNT * WIDTH; index += THREADS) {
        const int row = index / WIDTH, column = index % WIDTH;
        const bool there = first + row < count && column < width;
        const float number = there ? tensor[static_cast<size_t>(first + row) * channels + column] : 0.0f;
        out[row * STRIDE + column] = rounded<Number>(number);
    }
}

// What a lane knows of its two rows, g and g + 8: the largest score so far, in powers of 2, and its part of the sum of
// weights measured from it.
struct Sums {
    float largest[2];
    float total[2];
};

// Turns the scores of a tile into weights; says what corrects what was gathered, for a new largest score.
template <int KEYS>
__device__ void soften(
    const Attention& attention, int first_query, int first_key, int lane, Tile (&scores)[KEYS / COLUMNS], Sums& sums,
    float (&correction)[2]) {
    const int g = lane / 4, t = lane % 4;
    const float scale = LOG2_E / sqrtf(static_cast<float>(attention.width));
    float largest[2] = {sums.largest[0], sums.largest[1]};
#pragma unroll
    for (int n = 0; n < KEYS / COLUMNS; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int query = first_query + g + i / 2 * 8, key = first_key + n * COLUMNS + 2 * t + i % 2;
            float score = scores[n][i] * scale;
            if (key >= attention.keyed) {
                score = -INFINITY;
            } else if (attention.mask != nullptr && query < attention.queried) {
                score = fmaf(attention.mask[static_cast<size_t>(query) * attention.keyed + key], LOG2_E, score);
            }
            scores[n][i] = score;
            // A NaN is no larger; the exponential below carries it along.
            largest[i / 2] = fmaxf(largest[i / 2], score);
        }
    }
#pragma unroll
    for (int row = 0; row < 2; row++) {
        // The four lanes of a row agree.
        largest[row] = fmaxf(largest[row], from_neighbour(largest[row], 1));
        largest[row] = fmaxf(largest[row], from_neighbour(largest[row], 2));
        correction[row] = exp2f(sums.largest[row] - largest[row]);
        sums.largest[row] = largest[row];
        sums.total[row] *= correction[row];
    }
#pragma unroll
    for (int n = 0; n < KEYS / COLUMNS; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            scores[n][i] = exp2f(scores[n][i] - largest[i / 2]);
            sums.total[i / 2] += scores[n][i];
        }
    }
}

// Block (x, head, sample): the x-th run of WARPS x 16 queries.
template <typename Number, int WIDTH>
__device__ void attend(const Attention attention) {
    using Way = Products<Number, WIDTH>;
    constexpr int KEYS = Way::KEYS, STRIDE = Way::STRIDE, QUERIES = Way::WARPS * ROWS, THREADS = Way::WARPS * WARP;
    // Pairs are read as one word.
    __shared__ __align__(16) Number queries[QUERIES * STRIDE];
    __shared__ __align__(16) Number keys[KEYS * STRIDE];
    __shared__ __align__(16) Number values[KEYS * STRIDE];

    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    const int width = attention.width, channels = attention.heads * width, head = blockIdx.y * width;
    const int first_query = blockIdx.x * QUERIES;
    const size_t sample_queries = static_cast<size_t>(blockIdx.z) * attention.queried * channels + head;
    const size_t sample_keys = static_cast<size_t>(blockIdx.z) * attention.keyed * channels + head;
    load_rows<Number, QUERIES, WIDTH, STRIDE, THREADS>(
        attention.queries + sample_queries, first_query, attention.queried, width, channels, queries);

    Tile answer[WIDTH / COLUMNS] = {};
    Sums sums = {{-FLT_MAX, -FLT_MAX}, {0.0f, 0.0f}};
    for (int first_key = 0; first_key < attention.keyed; first_key += KEYS) {
        // Nobody reads the last tile any more.
        __syncthreads();
        load_rows<Number, KEYS, WIDTH, STRIDE, THREADS>(
            attention.keys + sample_keys, first_key, attention.keyed, width, channels, keys);
        load_rows<Number, KEYS, WIDTH, STRIDE, THREADS>(
            attention.values + sample_keys, first_key, attention.keyed, width, channels, values);
        __syncthreads();
        Tile scores[KEYS / COLUMNS] = {};
        Way::score(queries + warp * ROWS * STRIDE, keys, lane, scores);
        float correction[2];
        soften<KEYS>(attention, first_query + warp * ROWS, first_key, lane, scores, sums, correction);
#pragma unroll
        for (int n = 0; n < WIDTH / COLUMNS; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                answer[n][i] *= correction[i / 2];
            }
        }
        Way::gather(scores, values, lane, answer);
    }

#pragma unroll
    for (int row = 0; row < 2; row++) {
        float total = sums.total[row];
        total += from_neighbour(total, 1);
        total += from_neighbour(total, 2);
        const int query = first_query + warp * ROWS + g + 8 * row;
        float* out = attention.answer + sample_queries + static_cast<size_t>(query) * channels;
#pragma unroll
        for (int n = 0; n < WIDTH / COLUMNS; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int column = n * COLUMNS + 2 * t + i;
                if (query < attention.queried && column < width) {
                    out[column] = answer[n][2 * row + i] / total;
                }
            }
        }
    }
}

}  // namespace

// `attention_f16_64` and so on, for heads of up to 64 numbers. `fused.rs` knows the names, the widths and the threads of a block.
#define KERNEL(NAME, NUMBER, WIDTH)                                                                                       \
    extern "C" __global__ void __launch_bounds__(Products<NUMBER, WIDTH>::WARPS * WARP) attention_##NAME##_##WIDTH(       \
        const float* queries, const float* keys, const float* values, const float* mask, float* answer, int queried,      \
        int keyed, int heads, int width) {                                                                                \
        attend<NUMBER, WIDTH>({queries, keys, values, mask, answer, queried, keyed, heads, width});                       \
    }
#define KERNELS(WIDTH)          \
    KERNEL(f32, float, WIDTH)   \
    KERNEL(f16, Half, WIDTH)    \
    KERNEL(bf16, Bfloat, WIDTH)
KERNELS(32)
KERNELS(48)
KERNELS(64)
KERNELS(80)
KERNELS(128)
KERNELS(160)
