// Runs a fuzz function on random inputs from a printed seed, for compilers without libFuzzer and as a test:
//   PROGRAM [RUNS [SEED]]      or      PROGRAM FILE...   to repeat saved inputs
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

// Long enough for some fifty operations.
constexpr uint32_t kInputSizeBytesMax = 4096;

bool RunFiles(int argc, char** argv) {
  bool any = false;
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file.is_open()) continue;
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    any = true;
  }
  return any;
}

}  // namespace

int main(int argc, char** argv) {
  if (RunFiles(argc, argv)) return 0;
  const uint64_t runs = argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 2000;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 0) : std::random_device{}();
  std::printf("%llu runs from seed %llu\n", static_cast<unsigned long long>(runs),
              static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  std::vector<uint8_t> input;
  for (uint64_t run = 0; run < runs; ++run) {
    // Each run has a seed of its own, so a failing one is repeated alone: RUNS 1, SEED seed + run.
    std::mt19937_64 random(seed + run);
    input.resize(random() % kInputSizeBytesMax);
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  return 0;
}
