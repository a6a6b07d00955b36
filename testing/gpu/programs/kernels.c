// See kernels.h.
#include "testing/gpu/programs/kernels.h"

// %item = this thread's item; the thread ends when it is not below `count`.
#define ITEM                                       \
  "  mov.u32 %block, %ctaid.x;\n"                  \
  "  mov.u32 %width, %ntid.x;\n"                   \
  "  mov.u32 %thread, %tid.x;\n"                   \
  "  mad.lo.u32 %item, %block, %width, %thread;\n" \
  "  ld.param.u32 %end, [count];\n"                \
  "  setp.ge.u32 %outside, %item, %end;\n"         \
  "  @%outside ret;\n"

#define REGISTERS                                           \
  "  .reg .pred %outside, %again;\n"                        \
  "  .reg .b32 %block, %width, %thread, %item, %end, %n;\n" \
  "  .reg .b32 %x, %y, %old;\n"                             \
  "  .reg .f32 %f, %g;\n"                                   \
  "  .reg .b64 %a, %b, %c, %at;\n"

// `name` = the address of this thread's item in the array that parameter `parameter` points to.
#define ADDRESS(name, parameter)         \
  "  ld.param.u64 " name ", [" parameter \
  "];\n"                                 \
  "  cvta.to.global.u64 " name ", " name \
  ";\n"                                  \
  "  mul.wide.u32 %at, %item, 4;\n"      \
  "  add.u64 " name ", " name ", %at;\n"

const char kKernels[] =
    ".version 7.0\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .entry nothing() { ret; }\n"

    ".visible .entry vector_add(.param .u64 left, .param .u64 right, .param .u64 sum, .param .u32 count) {\n"
    REGISTERS ITEM ADDRESS("%a", "left") ADDRESS("%b", "right") ADDRESS("%c", "sum")
    "  ld.global.f32 %f, [%a];\n"
    "  ld.global.f32 %g, [%b];\n"
    "  add.rn.f32 %f, %f, %g;\n"
    "  st.global.f32 [%c], %f;\n"
    "  ret;\n"
    "}\n"

    ".visible .entry mix(.param .u64 values, .param .u32 count, .param .u32 rounds) {\n"
    REGISTERS ITEM ADDRESS("%a", "values")
    "  ld.param.u32 %n, [rounds];\n"
    "  ld.global.u32 %x, [%a];\n"
    "more:\n"
    "  setp.eq.u32 %again, %n, 0;\n"
    "  @%again bra enough;\n"
    "  mad.lo.u32 %x, %x, 1664525, 1013904223;\n"
    "  sub.u32 %n, %n, 1;\n"
    "  bra more;\n"
    "enough:\n"
    "  st.global.u32 [%a], %x;\n"
    "  ret;\n"
    "}\n"

    ".visible .entry touch(.param .u64 values, .param .u32 count, .param .u32 step) {\n"
    REGISTERS ITEM ADDRESS("%a", "values")
    "  ld.param.u32 %y, [step];\n"
    "  ld.global.u32 %x, [%a];\n"
    "  add.u32 %x, %x, %y;\n"
    "  st.global.u32 [%a], %x;\n"
    "  ret;\n"
    "}\n"

    ".visible .entry exchange(.param .u64 values, .param .u64 results, .param .u32 count,\n"
    "                         .param .u64 arrived) {\n"
    REGISTERS ITEM ADDRESS("%a", "values") ADDRESS("%b", "results")
    "  mul.lo.u32 %x, %item, 3;\n"
    "  st.global.u32 [%a], %x;\n"
    "  membar.gl;\n"
    "  ld.param.u64 %c, [arrived];\n"
    "  cvta.to.global.u64 %c, %c;\n"
    "  atom.global.add.u32 %old, [%c], 1;\n"
    "wait:\n"
    "  ld.volatile.global.u32 %x, [%c];\n"
    "  setp.lt.u32 %again, %x, %end;\n"
    "  @%again bra wait;\n"
    "  membar.gl;\n"
    "  ld.param.u64 %a, [values];\n"
    "  cvta.to.global.u64 %a, %a;\n"
    "  sub.u32 %y, %end, %item;\n"
    "  sub.u32 %y, %y, 1;\n"
    "  mul.wide.u32 %at, %y, 4;\n"
    "  add.u64 %a, %a, %at;\n"
    "  ld.volatile.global.u32 %x, [%a];\n"
    "  st.global.u32 [%b], %x;\n"
    "  ret;\n"
    "}\n"

    ".visible .entry store(.param .u64 address, .param .u32 value) {\n"
    REGISTERS
    "  ld.param.u64 %a, [address];\n"
    "  ld.param.u32 %x, [value];\n"
    "  st.volatile.u32 [%a], %x;\n"
    "  ret;\n"
    "}\n"

    ".visible .entry wait_for(.param .u64 flag, .param .u64 done) {\n"
    REGISTERS
    "  ld.param.u64 %a, [flag];\n"
    "  ld.param.u64 %b, [done];\n"
    "  mov.u32 %n, 268435456;\n"
    "look:\n"
    "  ld.volatile.u32 %x, [%a];\n"
    "  setp.ne.u32 %outside, %x, 0;\n"
    "  @%outside bra seen;\n"
    "  sub.u32 %n, %n, 1;\n"
    "  setp.ne.u32 %again, %n, 0;\n"
    "  @%again bra look;\n"
    "  ret;\n"
    "seen:\n"
    "  mov.u32 %y, 1;\n"
    "  st.volatile.u32 [%b], %y;\n"
    "  ret;\n"
    "}\n";
