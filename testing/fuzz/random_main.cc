// Runs a fuzz function without libFuzzer, for any compiler and as a test: on saved inputs, and on random ones
// from a printed seed, half of which are saved inputs with a few bytes changed.
//   PROGRAM FILE...                        repeats saved inputs
//   PROGRAM --runs=N [--seed=S] FILE...    and N random ones
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

// Long enough for some fifty operations.
constexpr uint32_t kInputSizeBytesMax = 4096;

// Of a saved input.
constexpr uint32_t kBytesChangedMax = 8;

Bytes RandomInput(const std::vector<Bytes>& saved, std::mt19937_64& random) {
  if (!saved.empty() && random() % 2 == 0) {
    Bytes input = saved[random() % saved.size()];
    for (uint64_t i = random() % kBytesChangedMax; i > 0 && !input.empty(); --i)
      input[random() % input.size()] = static_cast<uint8_t>(random());
    if (random() % 4 == 0) input.resize(random() % (input.size() + 1));
    return input;
  }
  Bytes input(random() % kInputSizeBytesMax);
  for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = argc == 1 ? 2000 : 0;
  uint64_t seed = std::random_device{}();
  std::vector<Bytes> saved;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--runs=")) {
      runs = std::strtoull(argv[i] + 7, nullptr, 0);
    } else if (argument.starts_with("--seed=")) {
      seed = std::strtoull(argv[i] + 7, nullptr, 0);
    } else {
      std::ifstream file(argument, std::ios::binary);
      if (!file.is_open()) return std::fprintf(stderr, "%s: cannot be read\n", argv[i]), 2;
      saved.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  for (const Bytes& input : saved) LLVMFuzzerTestOneInput(input.data(), input.size());
  std::printf("%zu saved inputs, %llu random ones from --seed=%llu\n", saved.size(),
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  for (uint64_t run = 0; run < runs; ++run) {
    // Each run has a seed of its own, so a failing one is repeated alone: --runs=1 --seed=<seed + run>.
    std::mt19937_64 random(seed + run);
    const Bytes input = RandomInput(saved, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  return 0;
}
