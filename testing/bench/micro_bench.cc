// What the parts of one small ioctl cost, each alone and with warm caches: nanoseconds of one thread that
// never waits. The sum is what the broker adds to a call; the rest of a round trip is cache lines that travel
// between two CPUs.
//   bazel run --config=opt //testing/bench:micro_bench
#include <benchmark/benchmark.h>

#include <memory>

#include "broker/driver/sim/sim_driver.h"
#include "testing/bench/one_call.h"

namespace nvshim::bench {
namespace {

std::unique_ptr<broker::Driver> SimulatedDriver() { return *broker::CreateSimDriver({}); }

void BM_PushTake(benchmark::State& state) {
  OneCall call(std::make_unique<QuietDriver>());
  for (auto _ : state) {
    call.Push();
    call.Take();
  }
}
BENCHMARK(BM_PushTake);

// Without a driver, and with the simulated one: the difference is the simulation.
void BM_Judge(benchmark::State& state) {
  OneCall call(state.range(0) == 0 ? std::make_unique<QuietDriver>() : SimulatedDriver());
  for (auto _ : state) {
    call.Restore();
    call.Judge();
  }
}
BENCHMARK(BM_Judge)->ArgName("simulated")->Arg(0)->Arg(1);

void BM_ReplyPop(benchmark::State& state) {
  OneCall call(std::make_unique<QuietDriver>());
  for (auto _ : state) {
    call.Reply();
    call.Pop();
  }
}
BENCHMARK(BM_ReplyPop);

void BM_ShimGather(benchmark::State& state) {
  OneCall call(std::make_unique<QuietDriver>());
  for (auto _ : state) call.ShimGather();
}
BENCHMARK(BM_ShimGather);

// All of it, with the shim.
void BM_WholeCall(benchmark::State& state) {
  OneCall call(state.range(0) == 0 ? std::make_unique<QuietDriver>() : SimulatedDriver());
  for (auto _ : state) {
    call.PutAnswer();
    call.ShimCall();
    call.TakeFromShim();
    call.Judge();
  }
}
BENCHMARK(BM_WholeCall)->ArgName("simulated")->Arg(0)->Arg(1);

}  // namespace
}  // namespace nvshim::bench

BENCHMARK_MAIN();
