// NV_ESC_RM_CONTROL: finds the object, checks that its class has such a command, and gives the answer of
// answers.cc.
#include "broker/driver/sim/controls.h"
#include "broker/driver/sim/escapes.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {
namespace {

// Commands carry the class that defines them in the upper 16 bits. RM looks a command up in the object's
// class; newer channel classes inherit the commands of older ones.
bool ObjectHasCommandsOf(const Object& object, uint32_t command_class) {
  switch (command_class) {
    case 0x0000:
      return object.kind == Kind::kClient;
    case 0x0041:
      return object.memory != nullptr;
    case 0x0073:
      return object.kind == Kind::kDisplayCommon;
    case 0x0080:
      return object.kind == Kind::kDevice;
    case 0x2080:
      return object.kind == Kind::kSubdevice;
    case 0x208f:
      return object.kind == Kind::kDiag;
    case 0x83de:
      return object.kind == Kind::kDebugger;
    case 0x906f:
    case 0xa06f:
    case 0xc36f:
    case 0xc56f:
      return object.kind == Kind::kChannel;
    case 0xa06c:
      return object.kind == Kind::kChannelGroup;
    case 0xcb33:
      return object.kind == Kind::kConfidentialCompute;
    default:
      return object.class_number == command_class;
  }
}

NvStatus Give(const Answer& answer, ControlContext& context) {
  switch (answer.kind) {
    case AnswerKind::kOk:
      return NV_OK;
    case AnswerKind::kRefuse:
      return NV_ERR_NOT_SUPPORTED;
    case AnswerKind::kCode:
      return answer.run(context);
    case AnswerKind::kZero:
    case AnswerKind::kFields:
      break;
  }
  context.params.Fill(0);
  for (const Field& field : answer.fields) {
    switch (field.size) {
      case 1:
        context.params.PutU8(field.offset, static_cast<uint8_t>(field.value));
        break;
      case 2:
        context.params.PutU16(field.offset, static_cast<uint16_t>(field.value));
        break;
      case 4:
        context.params.PutU32(field.offset, static_cast<uint32_t>(field.value));
        break;
      default:
        context.params.PutU64(field.offset, field.value);
        break;
    }
  }
  return NV_OK;
}

}  // namespace

NvStatus RmControl(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(abi::nvos54::kClient));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  Object* object = client->Find(params.U32(abi::nvos54::kObject));
  if (object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;

  const uint32_t command = params.U32(abi::nvos54::kCmd);
  const uint32_t size = params.U32(abi::nvos54::kParamsSize);
  const uint32_t segment = context.call.Child(0, abi::nvos54::kParams);
  Bytes control_params = segment == 0 ? Bytes() : Bytes(context.call.Bytes(segment));
  if (control_params.size() != size) return NV_ERR_INVALID_ARGUMENT;

  const abi::Spec* spec = abi::FindControl(context.machine.table(), command);
  const Answer* answer = spec == nullptr ? nullptr : FindAnswer(command);
  if (answer != nullptr && answer->observed_size != 0 && size != answer->observed_size) answer = nullptr;
  if (answer == nullptr) {
    context.machine.unknowns.Report(NumberSpace::kControl, command, size);
    return NV_ERR_NOT_SUPPORTED;
  }
  if (!ObjectHasCommandsOf(*object, command >> 16)) return NV_ERR_NOT_SUPPORTED;
  if (size < spec->size || size > spec->size_max) return NV_ERR_INVALID_ARGUMENT;
  ControlContext control{context, *client, *object, segment, control_params};
  return Give(*answer, control);
}

}  // namespace nvshim::broker::sim
