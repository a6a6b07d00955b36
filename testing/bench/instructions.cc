// Makes the parts of a small ioctl so often that what testing/bench/guard counts is the parts: each is a
// function of its own that is not inlined, whose name valgrind's callgrind collects inside of.
#include <memory>

#include "testing/bench/one_call.h"

namespace {

nvshim::bench::OneCall* g_call;

}  // namespace

// One name for callgrind, without mangling.
#define PART(name) extern "C" __attribute__((noinline)) void name()

PART(part_take) { g_call->Take(); }
PART(part_step) { g_call->Judge(); }
PART(part_reply) { g_call->Reply(); }
PART(part_gather) { g_call->ShimGather(); }
PART(part_shim) { g_call->ShimCall(); }
PART(part_whole) {
  g_call->PutAnswer();
  part_shim();
  g_call->TakeFromShim();
  part_step();
}

int main() {
  nvshim::bench::OneCall call(std::make_unique<nvshim::bench::QuietDriver>());
  g_call = &call;
  // As many as testing/bench/guard divides by.
  for (int i = 0; i < 2000; ++i) {
    g_call->Push();
    g_call->Restore();  // buffers of the call before
    part_take();
    part_gather();
    part_reply();
    g_call->Pop();
    part_whole();
  }
  return 0;
}
