// Law: what this process computes is right, again and again, whatever others do on the same GPU meanwhile.
// usage: compute ROUNDS|until-told [SEED]. until-told says "computing" once the first round is done, and goes
// on until its standard input ends.
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "testing/gpu/programs/kit.h"

enum { kItems = 1 << 20, kMixRounds = 100 };
static const size_t kSize = kItems * sizeof(uint32_t);

static int Told(void) {
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) > 0;
}

int main(int argc, char** argv) {
  const int until_told = argc > 1 && strcmp(argv[1], "until-told") == 0;
  const long rounds_max = argc > 1 && !until_told ? strtol(argv[1], NULL, 10) : 1;
  const uint32_t seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
  CUcontext context = StartKit();
  CUmodule module = LoadKernels();
  CUfunction mix = FindKernel(module, "mix");
  uint32_t *values = (uint32_t*)Allocate(kSize), *expected = (uint32_t*)Allocate(kSize);
  uint32_t count = kItems, mix_rounds = kMixRounds;
  CUdeviceptr device = 0;
  CHECK(cuMemAlloc(&device, kSize));
  for (uint32_t i = 0; i < kItems; ++i) expected[i] = Mixed(seed + i, kMixRounds);
  for (long round = 0; until_told ? !Told() || round == 0 : round < rounds_max; ++round) {
    for (uint32_t i = 0; i < kItems; ++i) values[i] = seed + i;
    CHECK(cuMemcpyHtoD(device, values, kSize));
    void* parameters[] = {&device, &count, &mix_rounds};
    Launch(mix, count, NULL, parameters);
    CHECK(cuMemcpyDtoH(values, device, kSize));
    CompareResult("what was computed", expected, values, kSize);
    if (until_told && round == 0) Step("computing");
  }
  Result("what was computed", values, kSize);
  CHECK(cuMemFree(device));
  CHECK(cuCtxDestroy(context));
  return 0;
}
