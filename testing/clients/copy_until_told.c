// Copies memory to a GPU and back, and compares, until its standard input is closed: a bystander for tests
// that disturb others. Says "copying" after the first round and "done" at the end.
#include <poll.h>
#include <unistd.h>

#include "testing/clients/cuda.h"

// Inline data, a part of a page, and several chunks of libcuda's staging buffer.
static const size_t kSizes[] = {4, 4097, (1 << 20) + 4};
enum { kSizeMax = (1 << 20) + 4 };

int main(void) {
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  unsigned char* sent = Allocate(kSizeMax);
  unsigned char* received = AllocateZeros(kSizeMax);
  CUcontext context = CreateFirstContext();
  CUdeviceptr memory = 0;
  CHECK(cuMemAlloc(&memory, kSizeMax));
  for (uint64_t round = 0; round == 0 || poll(&input, 1, 0) == 0; ++round) {
    const size_t size = kSizes[round % (sizeof(kSizes) / sizeof(kSizes[0]))];
    Fill(sent, size, round << 32 | (uint64_t)getpid());  // neither an earlier round's nor another process's
    CHECK(cuMemcpyHtoD(memory, sent, size));
    CHECK(cuMemcpyDtoH(received, memory, size));
    Compare("the copy", sent, received, size);
    if (round == 0) Step("copying");
  }
  CHECK(cuCtxDestroy(context));
  Step("done");
  return 0;
}
