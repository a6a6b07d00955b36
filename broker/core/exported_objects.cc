#include "broker/core/exported_objects.h"

#include <algorithm>
#include <iterator>
#include <span>

#include "proto/abi/exported_objects.h"

namespace nvshim::broker {
namespace {

// The handles of a call, and the places in the file that they belong to. Counts are of 16 bits: nothing
// overflows.
struct Handles {
  bool import = false;
  uint32_t offset = 0;  // of the first handle
  uint32_t count = 0, count_max = 1;
  uint32_t first_place = 0;

  uint32_t At(uint32_t i) const { return offset + 4 * i; }
};

Handles HandlesOf(const CheckedCall& checked, std::span<const uint8_t> params) {
  using namespace abi;
  switch (checked.nested->number) {
    case kExportObjectToFd:
      return {false, export_object::kObject, 1};
    case kImportObjectFromFd:
      return {true, import_object::kObject, 1};
    case kExportObjectsToFd:
      return {false, export_objects::kObjects, Get<uint16_t>(params, export_objects::kCount),
              export_objects::kCountMax, Get<uint16_t>(params, export_objects::kIndex)};
    case kImportObjectsFromFd:
      return {true, import_objects::kObjects, Get<uint16_t>(params, import_objects::kCount),
              import_objects::kCountMax, Get<uint16_t>(params, import_objects::kIndex)};
    default:
      return {};
  }
}

std::span<const uint8_t> ParamsOf(const CheckedCall& checked, const std::vector<uint8_t>& original,
                                  const DriverCall& call) {
  const CallSegment& segment = call.segments[checked.nested_segment];
  return {original.data() + segment.offset, segment.size_bytes};
}

// Whether the driver made an object for handle `i` of a successful import.
bool WasImported(const CheckedCall& checked, std::span<const uint8_t> params, uint32_t i) {
  return checked.nested->number == abi::kImportObjectFromFd ||
         params[abi::import_objects::kTypes + i] != abi::import_objects::kTypeNone;
}

}  // namespace

bool IsAboutExports(const CheckedCall& checked) {
  return checked.spec->shape == abi::Shape::kControl && checked.nested != nullptr &&
         std::count(std::begin(abi::kExportControls), std::end(abi::kExportControls),
                    checked.nested->number) != 0;
}

std::optional<Refusal> CheckExports(const CheckedCall& checked, const std::vector<uint8_t>& original,
                                    const File& file, DriverCall& call) {
  const uint32_t number = checked.nested->number;
  if (file.node.device_class != DeviceClass::kCtl)
    return Refusal::Status(Reason::kUnknownFile, NV_ERR_INVALID_PARAMETER, number);
  const auto params = call.Bytes(checked.nested_segment);
  const Handles handles = HandlesOf(checked, params);
  if (handles.count > handles.count_max)
    return Refusal::Status(Reason::kBadSize, NV_ERR_INVALID_PARAMETER, number);
  if (!handles.import) return std::nullopt;
  const uint32_t issuer = Get<uint32_t>(original, abi::nvos54::kClient);
  const uint32_t real_issuer = Get<uint32_t>(call.Bytes(0), abi::nvos54::kClient);
  for (uint32_t i = 0; i < handles.count; ++i) {
    const uint32_t wanted = Get<uint32_t>(params, handles.At(i));
    if (!file.exported.contains(handles.first_place + i))
      Put<uint32_t>(params, handles.At(i), 0);
    else if (wanted != 0 && (wanted == issuer || wanted == real_issuer))  // the client itself
      return Refusal::Status(Reason::kUnknownClient, NV_ERR_INSERT_DUPLICATE_NAME, wanted);
  }
  return std::nullopt;
}

uint32_t ObjectsMoved(const CheckedCall& checked, const std::vector<uint8_t>& original,
                      const DriverCall& call) {
  return HandlesOf(checked, ParamsOf(checked, original, call)).count;
}

void RecordExports(HandleTable& handles, const CheckedCall& checked, const std::vector<uint8_t>& original,
                   File& file, const DriverCall& call, Charge& objects) {
  const auto params = call.Bytes(checked.nested_segment);
  const auto guest_params = ParamsOf(checked, original, call);
  const Handles moved = HandlesOf(checked, guest_params);
  const auto issuer = static_cast<ClientHandle>(Get<uint32_t>(original, abi::nvos54::kClient));
  const uint32_t parent_offset = checked.nested->number == abi::kImportObjectFromFd
                                     ? abi::import_object::kParent
                                     : abi::import_objects::kParent;
  for (uint32_t i = 0; i < moved.count; ++i) {
    const uint32_t place = moved.first_place + i;
    if (moved.import) {
      const auto exported = file.exported.find(place);
      if (exported != file.exported.end() && WasImported(checked, params, i))
        handles.AddObject(issuer, static_cast<ObjectHandle>(Get<uint32_t>(params, moved.At(i))),
                          static_cast<ObjectHandle>(Get<uint32_t>(guest_params, parent_offset)), kDuplicate,
                          {objects.Split(1), {}, exported->second.memory});
      continue;
    }
    const auto object = static_cast<ObjectHandle>(Get<uint32_t>(guest_params, moved.At(i)));
    if (object == kNoObject)
      file.exported.erase(place);
    else
      file.exported.insert_or_assign(place,
                                     ExportedObject{objects.Split(1), handles.MemoryOf(issuer, object)});
  }
}

void RestoreExports(const CheckedCall& checked, const std::vector<uint8_t>& original, const File& file,
                    DriverCall& call) {
  const auto guest_params = ParamsOf(checked, original, call);
  const Handles handles = HandlesOf(checked, guest_params);
  if (!handles.import) return;
  for (uint32_t i = 0; i < handles.count; ++i)
    if (!file.exported.contains(handles.first_place + i))
      Put<uint32_t>(call.Bytes(checked.nested_segment), handles.At(i),
                    Get<uint32_t>(guest_params, handles.At(i)));
}

}  // namespace nvshim::broker
