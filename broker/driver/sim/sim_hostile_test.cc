// Laws of the simulated driver against callers that send any bytes: it refuses, it never crashes.
#include <errno.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "broker/driver/sim/controls.h"
#include "broker/driver/sim/sim_driver.h"
#include "broker/driver/sim/sim_test_calls.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {
namespace {

// A hostile caller: right numbers and sizes, random bytes, pointees of any length.
class SimHostileTest : public testing::TestWithParam<const abi::Table*> {};

TEST_P(SimHostileTest, NoBytesCrashIt) {
  const abi::Table& table = *GetParam();
  const auto driver =
      CreateSimDriver({.gpu = "h100", .driver_version = std::string(table.driver_version)}).value();
  TestGuest guest(*driver);
  guest.MakeDevice();
  std::mt19937 random(1);
  const auto fill = [&random](Buffer& bytes) {
    for (uint8_t& byte : bytes) byte = random() % 3 == 0 ? 0 : static_cast<uint8_t>(random());
  };
  for (int round = 0; round < 10; ++round) {
    for (const Answer& answer : Answers()) {
      const abi::Spec* spec = abi::FindControl(table, answer.number);
      if (spec == nullptr) continue;
      Buffer params(answer.observed_size != 0 ? answer.observed_size : spec->size);
      Buffer inner_a(random() % 64), inner_b(random() % 64);
      fill(params);
      const uint32_t object = answer.number >> 16 == 0        ? guest.client
                              : answer.number >> 16 == 0x2080 ? TestGuest::kSubdevice
                                                              : TestGuest::kDevice;
      guest.Control(object, answer.number, params, {{8, &inner_a}, {16, &inner_b}});
    }
    for (const ClassRule& rule : ClassRules()) {
      const abi::Spec* spec = abi::Find(table.classes, rule.number);
      Buffer params(spec == nullptr ? 32 : spec->size);
      fill(params);
      uint32_t handle = random() % 64 + 1;
      const uint32_t parents[] = {guest.client, TestGuest::kDevice, TestGuest::kSubdevice,
                                  static_cast<uint32_t>(random() % 64 + 1)};
      guest.Alloc(parents[random() % 4], &handle, rule.number, &params);
    }
    for (uint32_t number = 0; number < 256; ++number) {
      for (const uint32_t size :
           {0u, 4u, 8u, 16u, 24u, 28u, 32u, 40u, 48u, 56u, 64u, 72u, 144u, 184u, 560u}) {
        Buffer bytes(size);
        fill(bytes);
        if (random() % 2 == 0 && size >= 4) Put<uint32_t>(bytes, 0, guest.client);
        // Freeing the client would leave nothing to attack.
        if (number == NV_ESC_RM_FREE && size == 16) Put<uint32_t>(bytes, 8, random() % 64 + 1);
        RunEscapeNumber(*driver, random() % 2 == 0 ? guest.ctl : guest.gpu, number, bytes);
      }
    }
  }
  EXPECT_EQ(driver->Open({DeviceClass::kCtl, 0}, 0).error, 0);
}

INSTANTIATE_TEST_SUITE_P(AllVersions, SimHostileTest,
                         testing::ValuesIn(abi::Tables().begin(), abi::Tables().end()), [](const auto& info) {
                           std::string name(info.param->driver_version);
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

TEST(SimDriverTest, AMalformedCallIsRefused) {
  const auto driver = CreateSimDriver({}).value();
  const DriverFileId ctl = driver->Open({DeviceClass::kCtl, 0}, 0).file;
  DriverCall call;
  call.command = EscapeCommand(NV_ESC_SYS_PARAMS, 8);
  EXPECT_EQ(driver->Ioctl(ctl, call), EINVAL);
  call.segments.push_back({0, 8, 0, 0});  // no buffer behind it
  EXPECT_EQ(driver->Ioctl(ctl, call), EINVAL);
  EXPECT_EQ(driver->Ioctl(ctl + 100, call), EBADF);
}

}  // namespace
}  // namespace nvshim::broker::sim
