// Runs one kernel on the stand-in for a GPU: `twin NAME THREADS QUERIES_PER_BLOCK SEED BATCH QUERIED KEYED HEADS WIDTH MASKED`,
// with queries, keys, values and mask as raw fp32 on the standard input, gives the answer on the standard output.
#include "attention.cu"

#include <map>
#include <string>

using Kernel = void (*)(const float*, const float*, const float*, const float*, float*, int, int, int, int);

#define NAMED(NAME, WIDTH) {"attention_" #NAME "_" #WIDTH, attention_##NAME##_##WIDTH},
#define ALL_NAMED(WIDTH) NAMED(f32, WIDTH) NAMED(f16, WIDTH) NAMED(bf16, WIDTH)
static const std::map<std::string, Kernel> KERNELS_BY_NAME = {
    ALL_NAMED(32) ALL_NAMED(48) ALL_NAMED(64) ALL_NAMED(80) ALL_NAMED(128) ALL_NAMED(160)};

static std::vector<float> read_numbers(size_t count) {
    std::vector<float> numbers(count);
    if (fread(numbers.data(), sizeof(float), count, stdin) != count) {
        fprintf(stderr, "twin: the input ends too soon\n");
        exit(2);
    }
    return numbers;
}

int main(int count, char** words) {
    const auto found = count == 11 ? KERNELS_BY_NAME.find(words[1]) : KERNELS_BY_NAME.end();
    if (found == KERNELS_BY_NAME.end()) {
        fprintf(stderr, "twin: no such kernel, or not ten arguments\n");
        return 2;
    }
    const auto number = [&](int at) { return std::atoi(words[at]); };
    const int threads = number(2), per_block = number(3), batch = number(5), queried = number(6), keyed = number(7);
    const int heads = number(8), width = number(9), masked = number(10);
    twin::chance.seed(static_cast<unsigned>(number(4)));

    const size_t channels = static_cast<size_t>(heads) * width;
    const std::vector<float> queries = read_numbers(batch * queried * channels);
    const std::vector<float> keys = read_numbers(batch * keyed * channels);
    const std::vector<float> values = read_numbers(batch * keyed * channels);
    const std::vector<float> mask = read_numbers(masked ? static_cast<size_t>(queried) * keyed : 0);
    std::vector<float> answer(queries.size(), NAN);
    twin::kernel = [&] {
        found->second(queries.data(), keys.data(), values.data(), masked ? mask.data() : nullptr, answer.data(), queried,
                      keyed, heads, width);
    };
    const unsigned blocks = static_cast<unsigned>((queried + per_block - 1) / per_block);
    for (unsigned sample = 0; sample < static_cast<unsigned>(batch); sample++) {
        for (unsigned head = 0; head < static_cast<unsigned>(heads); head++) {
            for (unsigned block = 0; block < blocks; block++) {
                blockIdx = {block, head, sample};
                twin::run_block(static_cast<unsigned>(threads));
            }
        }
    }
    return fwrite(answer.data(), sizeof(float), answer.size(), stdout) == answer.size() ? 0 : 2;
}
