// NV0080 commands, asked of a device, and the commands of channels and displays.
#include <algorithm>

#include "broker/driver/sim/controls.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t kEngineGr0 = 1, kEngineCopy0 = 9;  // NV2080_ENGINE_TYPE_GR0, _COPY0

}  // namespace

NvStatus GpuGetClasslist(ControlContext& context) {
  const auto classes = ClassList(context.profile().chip);
  Bytes list = context.Child(8);
  if (!list.empty()) {
    if (context.params.U32(0) < classes.size()) return NV_ERR_INVALID_ARGUMENT;
    for (size_t i = 0; i < classes.size(); ++i) list.PutU32(4 * i, classes[i]);
  }
  context.params.PutU32(0, static_cast<uint32_t>(classes.size()));
  return NV_OK;
}

NvStatus GpuGetClasslistV2(ControlContext& context) {
  // {numClasses, classList[]}
  const auto classes = ClassList(context.profile().chip);
  const size_t count = std::min<size_t>(classes.size(), context.params.size() / 4 - 1);
  context.params.Fill(0);
  context.params.PutU32(0, static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; ++i) context.params.PutU32(4 + 4 * i, classes[i]);
  return NV_OK;
}

NvStatus GpuGetBrandCaps(ControlContext& context) {
  context.params.PutU32(0, context.profile().brands);
  return NV_OK;
}

NvStatus SystemGetNumHeads(ControlContext& context) {
  context.params.PutU32(8, context.profile().display ? 4 : 0);
  return NV_OK;
}

NvStatus FifoDisableChannels(ControlContext& context) {
  // {bDisable, numChannels, ...}. No channel is ever disabled here, so that enabling them is done. One that
  // is to be disabled would execute on: that is refused.
  constexpr uint32_t NV2080_CTRL_FIFO_DISABLE_CHANNELS_MAX_ENTRIES = 64;
  if (context.params.U32(4) > NV2080_CTRL_FIFO_DISABLE_CHANNELS_MAX_ENTRIES) return NV_ERR_INVALID_ARGUMENT;
  return (context.params.U32(0) & 0xff) != 0 ? NV_ERR_NOT_SUPPORTED : NV_OK;
}

NvStatus FifoGetChannellist(ControlContext& context) {
  // {numChannels, pChannelHandleList, pChannelList}: handles in, hardware channel ids out.
  Bytes handles = context.Child(8), ids = context.Child(16);
  const uint32_t count = context.params.U32(0);
  if (count > handles.size() / 4 || count > ids.size() / 4) return NV_ERR_INVALID_ARGUMENT;
  for (uint32_t i = 0; i < count; ++i) {
    const Object* channel = context.client.Find(handles.U32(4 * i));
    // Channel ids are per GPU and small; the order of allocation within the client serves as well as any.
    ids.PutU32(4 * i, channel != nullptr && channel->kind == Kind::kChannel ? channel->handle & 0xfff : ~0u);
  }
  return NV_OK;
}

NvStatus GetClassEngineid(ControlContext& context) {
  // {hObject, classEngineID, classID, engineID}
  const Object* object = context.client.Find(context.params.U32(0));
  if (object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  const bool copy = (object->class_number & 0xff) == 0xb5;  // *_DMA_COPY_*
  const uint32_t engine = copy ? kEngineCopy0 : kEngineGr0;
  context.params.PutU32(4, object->class_number);
  context.params.PutU32(8, object->class_number);
  context.params.PutU32(12, engine);
  return NV_OK;
}

NvStatus GetWorkSubmitToken(ControlContext& context) {
  context.params.PutU32(0, context.object.handle & 0xfff);  // what the guest writes to the doorbell page
  return NV_OK;
}

}  // namespace nvshim::broker::sim
