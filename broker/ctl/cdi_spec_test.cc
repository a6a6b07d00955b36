#include "broker/ctl/cdi_spec.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace nvshim::broker::ctl {
namespace {

using Json = nlohmann::json;

const CdiOptions kOptions = {.library = "/usr/lib/libnvshim.so",
                             .socket = "/run/gpu-broker/gpu-broker.sock",
                             .sockets = {{"training", "/run/gpu-broker/guests/training.sock"}}};

std::set<std::string> KeysOf(const Json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.insert(key);
  return keys;
}

// Readers refuse a file with a field that they do not know. What is not here, as deviceNodes and hooks, is
// not there.
TEST(CdiSpecTest, HasTheFieldsOfTheInterfaceAndNoOthers) {
  const Json spec = Json::parse(*CdiSpec(kOptions));
  EXPECT_EQ(KeysOf(spec), (std::set<std::string>{"cdiVersion", "kind", "devices", "containerEdits"}));
  EXPECT_EQ(spec["cdiVersion"], "0.5.0");
  EXPECT_EQ(spec["kind"], "nvshim.dev/gpu");
  for (const Json& device : spec["devices"])
    EXPECT_EQ(KeysOf(device), (std::set<std::string>{"name", "containerEdits"}));
  Json edits = Json::array({spec["containerEdits"]});
  for (const Json& device : spec["devices"]) edits.push_back(device["containerEdits"]);
  for (const Json& edit : edits) {
    EXPECT_EQ(KeysOf(edit), (std::set<std::string>{"env", "mounts"}));
    for (const Json& mount : edit["mounts"])
      EXPECT_EQ(KeysOf(mount), (std::set<std::string>{"hostPath", "containerPath", "options"}));
  }
}

TEST(CdiSpecTest, ADevicePerGuestAndOneForEverybody) {
  const Json spec = Json::parse(*CdiSpec(kOptions));
  ASSERT_EQ(spec["devices"].size(), 2u);
  EXPECT_EQ(spec["devices"][0]["name"], "default");
  EXPECT_EQ(spec["devices"][0]["containerEdits"]["env"],
            Json({"NVSHIM_SOCKET=/run/gpu-broker/gpu-broker.sock"}));
  EXPECT_EQ(spec["devices"][1]["name"], "training");
  EXPECT_EQ(spec["devices"][1]["containerEdits"]["env"],
            Json({"NVSHIM_SOCKET=/run/gpu-broker/guests/training.sock"}));
}

TEST(CdiSpecTest, WhatIsNamedInTheEnvironmentIsMountedThereReadOnly) {
  const Json spec = Json::parse(*CdiSpec(kOptions));
  EXPECT_EQ(spec["containerEdits"]["env"], Json({"LD_PRELOAD=/usr/lib/libnvshim.so"}));
  const Json& library = spec["containerEdits"]["mounts"][0];
  EXPECT_EQ(library["hostPath"], "/usr/lib/libnvshim.so");
  EXPECT_EQ(library["containerPath"], "/usr/lib/libnvshim.so");
  EXPECT_EQ(library["options"][0], "ro");
  const Json& socket = spec["devices"][1]["containerEdits"]["mounts"][0];
  EXPECT_EQ(socket["hostPath"], "/run/gpu-broker/guests/training.sock");
  EXPECT_EQ(socket["containerPath"], socket["hostPath"]);
  EXPECT_EQ(socket["options"][0], "ro");
}

TEST(CdiSpecTest, RefusesWhatTheInterfaceOrTheLinkerWouldNotTake) {
  for (const char* name : {"", "default", "-a", "a-", "a b", "a/b", "a=b"}) {
    CdiOptions options = kOptions;
    options.sockets = {{name, "/run/a.sock"}};
    EXPECT_FALSE(CdiSpec(options).ok()) << name;
  }
  for (const char* library : {"libnvshim.so", "/a b/libnvshim.so", "/a:b/libnvshim.so"}) {
    CdiOptions options = kOptions;
    options.library = library;
    EXPECT_FALSE(CdiSpec(options).ok()) << library;
  }
  CdiOptions options = kOptions;
  options.socket = "gpu-broker.sock";
  EXPECT_FALSE(CdiSpec(options).ok());
}

}  // namespace
}  // namespace nvshim::broker::ctl
