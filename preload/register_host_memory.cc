#include "preload/register_host_memory.h"

#include <cstring>

#include "preload/call.h"
#include "preload/host_memory.h"

namespace nvshim::preload {

namespace {

template <typename T>
T Load(const GatheredCall& call, uint32_t offset) {
  T value;
  std::memcpy(&value, call.buffers[0].address + offset, sizeof(value));
  return value;
}

Answer AnswerStatus(const GatheredCall& call, uint32_t status) {
  std::memcpy(call.buffers[0].address + abi::nvos02::kStatus, &status, sizeof(status));
  return AnswerOf(0);
}

// Frees the object that the worker has made, because its memory did not become what the worker sees. RM takes
// this call on the ctl file to which the GPU file is registered.
void FreeObject(Session& session, const GatheredCall& made) {
  uint8_t params[abi::nvos00::kSize] = {};
  static_assert(
      abi::nvos00::kRoot == abi::nvos02::kRoot && abi::nvos00::kObjectOld == abi::nvos02::kObjectNew,
      "NVOS00 begins as NVOS02 does: client, parent, object");
  std::memcpy(params, made.buffers[0].address, abi::nvos00::kStatus);
  constexpr uint32_t kCommand = abi::EscapeCommand(abi::kFreeNumber, abi::nvos00::kSize);
  GatheredCall call;
  if (Gather(*session.table, DeviceClass::kCtl, kCommand, params, &call) == 0)
    CallIoctl(session, session.registered_ctl.load(std::memory_order_relaxed), call, {});
}

Answer RegisterInTurn(Session& session, uint32_t file_id, GatheredCall& call) {
  HostMemoryPlan plan;
  const bool read_only = (Load<uint32_t>(call, abi::nvos02::kFlags) & abi::kNvos02AllocUserReadOnly) != 0;
  const uint32_t status = host_memory().Plan(Load<uint64_t>(call, abi::nvos02::kMemory),
                                             Load<uint64_t>(call, abi::nvos02::kLimit) + 1, read_only, &plan);
  if (status != NV_OK) return AnswerStatus(call, status);
  call.buffers[call.buffer_count++] = {reinterpret_cast<uint8_t*>(plan.pieces),
                                       static_cast<uint32_t>(plan.count * sizeof(abi::HostPiece)), 0,
                                       abi::nvos02::kMemory};
  const IoctlOutcome outcome = CallIoctl(session, file_id, call, {});
  const bool made =
      outcome.fd_lost || (outcome.error == 0 && Load<uint32_t>(call, abi::nvos02::kStatus) == NV_OK);
  if (!made || !plan.any_new) return AnswerOf(outcome.error);
  const bool taken = outcome.received_fd >= 0 && host_memory().Take(plan, outcome.received_fd);
  if (outcome.received_fd >= 0) CloseFd(outcome.received_fd);
  if (taken) return AnswerOf(outcome.error);
  FreeObject(session, call);
  return AnswerStatus(call, NV_ERR_NO_MEMORY);
}

}  // namespace

bool RegistersHostMemory(const GatheredCall& call) {
  return abi::IsEscape(call.command, abi::kAllocMemoryNumber) &&
         abi::IocSize(call.command) == abi::nvos02::kSize &&
         Load<uint32_t>(call, abi::nvos02::kClass) == abi::kClassOsDescriptor;
}

Answer RegisterHostMemory(Session& session, uint32_t file_id, GatheredCall& call) {
  if (!host_memory().BeginTurn()) return AnswerStatus(call, NV_ERR_NOT_SUPPORTED);
  const Answer answer = RegisterInTurn(session, file_id, call);
  host_memory().EndTurn();
  return answer;
}

}  // namespace nvshim::preload
