// Laws: a module is compiled from PTX and loaded; its functions and variables are found by name, what it does
// not have is not; its variables begin as the text says, and hold what is copied to them. Text that is no PTX
// is refused with the compiler's words.
#include <string.h>

#include "testing/clients/cuda.h"

enum { kTableEntries = 5, kBufferBytes = 4096, kLogBytes = 4096 };

// Assembled for the GPU at hand: sm_50 is the oldest that the compiler of 535 takes, and all profiles are
// newer.
static const char kPtx[] =
    ".version 7.0\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .const .align 4 .b32 answer = 42;\n"
    ".visible .global .align 4 .b32 table[5] = {2, 3, 5, 7, 11};\n"
    ".visible .global .align 8 .b8 buffer[4096];\n"
    ".visible .entry add_one(.param .u64 where) {\n"
    "  .reg .b64 %address;\n"
    "  .reg .b32 %value;\n"
    "  ld.param.u64 %address, [where];\n"
    "  cvta.to.global.u64 %address, %address;\n"
    "  ld.global.u32 %value, [%address];\n"
    "  add.u32 %value, %value, 1;\n"
    "  st.global.u32 [%address], %value;\n"
    "  ret;\n"
    "}\n";
static const uint32_t kTable[kTableEntries] = {2, 3, 5, 7, 11};

static CUdeviceptr FindVariable(CUmodule module, const char* name, size_t size) {
  CUdeviceptr address = 0;
  size_t found = 0;
  CHECK(cuModuleGetGlobal(&address, &found, module, name));
  if (found != size) Fail("%s has %zu bytes, %zu is right", name, found, size);
  return address;
}

static void CheckModule(CUmodule module) {
  CUfunction function = NULL;
  CHECK(cuModuleGetFunction(&function, module, "add_one"));
  if (cuModuleGetFunction(&function, module, "add_two") != CUDA_ERROR_NOT_FOUND)
    Fail("the module has a function that is not in its text");
  CUdeviceptr nowhere = 0;
  if (cuModuleGetGlobal(&nowhere, NULL, module, "chair") != CUDA_ERROR_NOT_FOUND)
    Fail("the module has a variable that is not in its text");

  Step("variables begin as the text says");
  const CUdeviceptr table = FindVariable(module, "table", sizeof(kTable));
  uint32_t entries[kTableEntries] = {0}, answer = 0;
  CHECK(cuMemcpyDtoH(entries, table, sizeof(entries)));
  Compare("table", (const unsigned char*)kTable, (const unsigned char*)entries, sizeof(kTable));
  CHECK(cuMemcpyDtoH(&answer, FindVariable(module, "answer", sizeof(answer)), sizeof(answer)));
  if (answer != 42) Fail("the constant is %u, 42 is right", answer);
  const CUdeviceptr buffer = FindVariable(module, "buffer", kBufferBytes);
  unsigned char *sent = AllocateZeros(kBufferBytes), *received = Allocate(kBufferBytes);
  CHECK(cuMemcpyDtoH(received, buffer, kBufferBytes));
  Compare("buffer, not yet written", sent, received, kBufferBytes);

  Step("variables hold what is copied to them");
  Fill(sent, kBufferBytes, 1);
  CHECK(cuMemcpyHtoD(buffer, sent, kBufferBytes));
  CHECK(cuMemcpyDtoH(received, buffer, kBufferBytes));
  Compare("buffer", sent, received, kBufferBytes);
  CHECK(cuMemcpyHtoD(table + sizeof(uint32_t), sent, sizeof(uint32_t)));
  CHECK(cuMemcpyDtoH(entries, table, sizeof(entries)));
  uint32_t expected[kTableEntries];
  memcpy(expected, kTable, sizeof(kTable));
  memcpy(&expected[1], sent, sizeof(uint32_t));
  Compare("table", (const unsigned char*)expected, (const unsigned char*)entries, sizeof(expected));
  free(sent);
  free(received);
}

static void RefuseWhatIsNoPtx(void) {
  char log[kLogBytes] = "";
  int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, (void*)(uintptr_t)sizeof(log)};
  CUmodule module = NULL;
  const CUresult result =
      cuModuleLoadDataEx(&module, ".version 7.0\n.target sm_50\nnonsense\n", 2, options, values);
  if (result != CUDA_ERROR_INVALID_PTX)
    Fail("nonsense loads with %d %s, CUDA_ERROR_INVALID_PTX is right", result, ErrorName(result));
  if (strstr(log, "error") == NULL) Fail("the compiler's log names no error: '%s'", log);
}

int main(void) {
  CUcontext context = CreateFirstContext();
  CUmodule module = NULL, again = NULL;
  Step("cuModuleLoadData");
  CHECK(cuModuleLoadData(&module, kPtx));
  CheckModule(module);
  Step("cuModuleLoadDataEx, while the first one is loaded");
  CHECK(cuModuleLoadDataEx(&again, kPtx, 0, NULL, NULL));
  CheckModule(again);
  CHECK(cuModuleUnload(module));
  CHECK(cuModuleUnload(again));
  Step("text that is no PTX");
  RefuseWhatIsNoPtx();
  CHECK(cuCtxDestroy(context));
  Step("modules hold what they shall");
  return 0;
}
