// A small control on one lane of a process, while a call on another lane blocks in the driver, beside the
// same with none. Worker and guest are threads of this program, the guest without the shim. Prints JSON
// lines; testing/bench/run makes a table of them.
#include <cstring>
#include <vector>

#include "testing/bench/bench.h"
#include "testing/guest/blocking_guest.h"

namespace nvshim::bench {
namespace {

constexpr uint32_t NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE = 0x27b;
constexpr int kBlocks = 10;

int Main(int calls) {
  testing::BlockingGuest one;
  const uint32_t client = testing::AllocClient(one.guest(), one.ctl())->handle;
  std::vector<uint8_t> params(4);
  const auto call = [&] {
    if (testing::Control(one.guest(), one.ctl(), client, client, NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE,
                         params) != 0)
      Die("a small control");
  };
  std::vector<double> alone, beside;
  for (int block = 0; block < kBlocks; ++block) Append(alone, Measure(call, calls / kBlocks, {}));
  auto blocked = one.Block();
  for (int block = 0; block < kBlocks; ++block) Append(beside, Measure(call, calls / kBlocks, {}));
  one.End();
  blocked.wait();
  for (const double percent : {50.0, 99.0})
    Report(percent == 50.0 ? "beside a call that blocks p50" : "beside a call that blocks p99",
           Percentile(beside, percent), "us", "alone", Percentile(alone, percent));
  return 0;
}

}  // namespace
}  // namespace nvshim::bench

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  return nvshim::bench::Main(quick ? 2'000 : 50'000);
}
