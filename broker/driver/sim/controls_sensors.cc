// What the board's sensors show: temperature, power, load. A simulated board does no work, so it
// shows the constants of an idle one. The commands go to the GPU's firmware (bit 0x8000) and no public header
// describes them; layouts are what NVML reads from the answers.
#include <algorithm>

#include "broker/driver/sim/controls.h"

namespace nvshim::broker::sim {

NvStatus ThermalSystemExecute(ControlContext& context) {
  // {version, revision, instruction size, flags, executed, count, instructions[32]{result, executed, opcode,
  // operands}}
  constexpr size_t kExecuted = 16, kCount = 20, kInstructions = 24, kInstructionBytes = 44;
  constexpr uint32_t kSensorsAvailable = 0x100, kSensorTarget = 0x101, kSensorReading = 0x1500;
  constexpr uint32_t kTargetGpu = 1;
  const uint32_t count = std::min<uint32_t>(context.params.U32(kCount), 32);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t opcode = context.params.U32(kInstructions + kInstructionBytes * i + 8);
    if (opcode != kSensorsAvailable && opcode != kSensorTarget && opcode != kSensorReading)
      return NV_ERR_NOT_SUPPORTED;
  }
  for (uint32_t i = 0; i < count; ++i) {
    Bytes instruction = context.params.Sub(kInstructions + kInstructionBytes * i, kInstructionBytes);
    instruction.PutU32(0, NV_OK);
    instruction.PutU32(4, 1);  // executed
    switch (instruction.U32(8)) {
      case kSensorsAvailable:
        instruction.PutU32(12, 1);
        break;
      case kSensorTarget:
        instruction.PutU32(16, kTargetGpu);
        break;  // operand at 12: the sensor's index
      default:
        instruction.PutU32(16, context.profile().idle_celsius);
        break;
    }
  }
  context.params.PutU32(kExecuted, count);
  return NV_OK;
}

NvStatus PowerMonitorInfo(ControlContext& context) {
  context.params.Fill(0);
  context.params.PutU32(0, 1);  // there is a monitor; its channels follow
  return NV_OK;
}

NvStatus PowerMonitorStatus(ControlContext& context) {
  context.params.PutU32(36, context.profile().idle_milliwatts);  // channel 0
  return NV_OK;
}

NvStatus CodecUtilization(ControlContext& context) {
  // {engine, percent, sampling period}; NVML takes a period of 0 for an error
  constexpr uint32_t kSamplingPeriodUs = 167000;  // what boards use
  context.params.PutU32(4, 0);
  context.params.PutU32(8, kSamplingPeriodUs);
  return NV_OK;
}

}  // namespace nvshim::broker::sim
