// Law: the structs that the core takes apart by offsets of its own are laid out that way in every driver
// version that has a table.
#include "broker/core/rm_calls.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "proto/abi/facts.h"

namespace nvshim::broker {
namespace {

struct Place {
  const char* struct_name;
  const char* field;
  uint32_t offset;
};

const Place kPlaces[] = {
    {"NVOS00_PARAMETERS", "hObjectParent", kParentOffset},
    {"NVOS00_PARAMETERS", "hObjectOld", kObjectOffset},
    {"nv_ioctl_nvos02_parameters_with_fd", "params.hObjectParent", kParentOffset},
    {"nv_ioctl_nvos02_parameters_with_fd", "params.hObjectNew", kObjectOffset},
    {"nv_ioctl_nvos02_parameters_with_fd", "params.hClass", kClassOffset},
    {"NVOS21_PARAMETERS", "hObjectParent", kParentOffset},
    {"NVOS21_PARAMETERS", "hObjectNew", kObjectOffset},
    {"NVOS21_PARAMETERS", "hClass", kClassOffset},
    {"NVOS64_PARAMETERS", "hObjectParent", kParentOffset},
    {"NVOS64_PARAMETERS", "hObjectNew", kObjectOffset},
    {"NVOS64_PARAMETERS", "hClass", kClassOffset},
    {"NVOS55_PARAMETERS", "hParent", kParentOffset},
    {"NVOS55_PARAMETERS", "hObject", kObjectOffset},
    {"NVOS55_PARAMETERS", "hClientSrc", kSourceClientOffset},
    {"NVOS55_PARAMETERS", "hObjectSrc", kSourceObjectOffset},
    {"NVOS32_PARAMETERS", "hObjectParent", kParentOffset},
    {"NVOS32_PARAMETERS", "function", kFunctionOffset},
    {"NVOS32_PARAMETERS", "total", kHeapTotalOffset},
    {"NVOS32_PARAMETERS", "free", kHeapFreeOffset},
    {"NVOS32_PARAMETERS", "data.AllocSize.hMemory", kHeapObjectOffset},
    {"NVOS32_PARAMETERS", "data.Free.hMemory", kHeapObjectOffset},
    {"NVOS32_PARAMETERS", "data.AllocSize.flags", kHeapFlagsOffset},
    {"NVOS32_PARAMETERS", "data.AllocSize.attr", kHeapAttrOffset},
    {"NVOS32_PARAMETERS", "data.AllocSize.size", kHeapSizeOffset},
    {"NVOS32_PARAMETERS", "data.Info.size", kHeapLargestOffset},
    {"NV_MEMORY_ALLOCATION_PARAMS", "size", kAllocationSizeOffset},
    {"NV2080_CTRL_FB_GET_INFO_PARAMS", "fbInfoListSize", kFbInfoCountOffset},
    {"NV2080_CTRL_FB_GET_INFO_PARAMS", "fbInfoList", kFbInfoPointerOffset},
    {"NV2080_CTRL_FB_GET_INFO_V2_PARAMS", "fbInfoListSize", kFbInfoCountOffset},
    {"NV2080_CTRL_FB_GET_INFO_V2_PARAMS", "fbInfoList", kFbInfoListOffset},
    {"NV2080_CTRL_GPU_GET_PIDS_PARAMS", "idType", get_pids::kIdType},
    {"NV2080_CTRL_GPU_GET_PIDS_PARAMS", "id", get_pids::kId},
    {"NV2080_CTRL_GPU_GET_PIDS_PARAMS", "pidTblCount", get_pids::kCount},
    {"NV2080_CTRL_GPU_GET_PIDS_PARAMS", "pidTbl", get_pids::kTable},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoListCount", pid_info::kCount},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList", pid_info::kList},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList[].pid", pid_info::kList + pid_info::kPid},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList[].index", pid_info::kList + pid_info::kIndex},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList[].result", pid_info::kList + pid_info::kResult},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList[].data.vidMemUsage.memPrivate",
     pid_info::kList + pid_info::kPrivate},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList[].data.vidMemUsage.memSharedOwned",
     pid_info::kList + pid_info::kSharedOwned},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList[].data.vidMemUsage.memSharedDuped",
     pid_info::kList + pid_info::kSharedDuplicate},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList[].smcSubscription.computeInstanceId",
     pid_info::kList + pid_info::kComputeInstance},
    {"NV2080_CTRL_GPU_GET_PID_INFO_PARAMS", "pidInfoList[].smcSubscription.gpuInstanceId",
     pid_info::kList + pid_info::kGpuInstance},
};

TEST(RmCallsTest, EveryVersionHasTheFieldsWhereTheCoreReadsThem) {
  for (const abi::Table* table : abi::Tables()) {
    std::string problem;
    const auto facts =
        abi::ReadFacts("proto/abi/facts/" + std::string(table->driver_version) + ".csv", &problem);
    ASSERT_TRUE(facts) << problem;
    std::map<std::string, abi::Fact> structs;
    for (const abi::Fact& fact : *facts)
      if (fact.kind == "struct") structs[fact.name] = fact;
    for (const Place& place : kPlaces) {
      const abi::FactField* field = structs[place.struct_name].Find(place.field);
      ASSERT_NE(field, nullptr) << place.struct_name << "." << place.field;
      EXPECT_EQ(field->offset, place.offset)
          << table->driver_version << " " << place.struct_name << "." << place.field;
    }
    // The lists fill the rest of their structs.
    EXPECT_EQ(structs["NV2080_CTRL_GPU_GET_PIDS_PARAMS"].size,
              get_pids::kTable + 4 * get_pids::kTableSizeMax);
    EXPECT_EQ(structs["NV2080_CTRL_GPU_GET_PID_INFO_PARAMS"].size,
              pid_info::kList + pid_info::kSize * pid_info::kListSizeMax);
  }
}

}  // namespace
}  // namespace nvshim::broker
