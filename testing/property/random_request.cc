#include "testing/property/random_request.h"

#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t Escape(uint32_t number, uint32_t size_bytes) {
  return 3u << 30 | size_bytes << 16 | abi::kEscapeType << 8 | number;
}

const abi::Table& Table535() { return *abi::FindTable("535.261.03"); }

template <typename T>
T Pick(Random& random, const std::vector<T>& from) {
  return from[random.Below(static_cast<uint32_t>(from.size()))];
}

void Add(DriverCall& call, uint32_t size_bytes, uint32_t parent, uint32_t pointer_offset) {
  call.segments.push_back({static_cast<uint32_t>(call.buffer.size()), size_bytes, parent, pointer_offset});
  call.buffer.resize(call.buffer.size() + (size_bytes + 7) / 8 * 8);
}

class Maker {
 public:
  Maker(Random& random, const Hints& hints) : random_(random), hints_(hints) {}

  // Something that a ctl file takes.
  DriverCall Call() {
    DriverCall call;
    const uint32_t kind = random_.Below(16);
    if (kind < 7) return Alloc();
    if (kind < 10) {
      call = OnClient(0x29, 16);  // free
      PutObject(call, 8);
      if (random_.OneIn(10)) Put<uint32_t>(call.Bytes(0), 8, Get<uint32_t>(call.Bytes(0), 0));
    } else if (kind < 12) {
      call = Control();
    } else if (kind == 12) {
      call = OnClient(0x34, 28);  // dup
      PutObject(call, 8);
      Put<uint32_t>(call.Bytes(0), 12, random_.OneIn(2) ? Get<uint32_t>(call.Bytes(0), 0) : ClientNumber());
      Put<uint32_t>(call.Bytes(0), 16, MemoryNumber());
    } else if (kind == 13) {
      call = OnClient(0x4a, 184);  // heap
      Put<uint32_t>(call.Bytes(0), 8, 2 + random_.Below(4));
      PutObject(call, 44);
      if (random_.OneIn(8)) Put<uint32_t>(call.Bytes(0), 52, 0x80000);                  // flags: virtual
      Put<uint32_t>(call.Bytes(0), 56, random_.OneIn(4) ? random_.Below(4) << 25 : 0);  // attr: where
      Put<uint64_t>(call.Bytes(0), 88, MemoryBytes());
    } else if (kind == 14) {
      call = OnClient(0x27, 56);  // memory
      Put<uint32_t>(call.Bytes(0), 8, MemoryNumber());
      Put<uint32_t>(call.Bytes(0), 12, random_.OneIn(4) ? 0x3e : 0x40);
      Put<uint64_t>(call.Bytes(0), 32, MemoryBytes() - 1);
    } else {
      call = OnClient(0x4e, 56);  // map
    }
    return call;
  }

  // Client numbers start where the driver's own do; small ones are those that guests wish for.
  uint32_t ClientNumber() {
    if (!hints_.clients.empty() && !random_.OneIn(8)) return Pick(random_, hints_.clients);
    return random_.OneIn(4) ? random_.Below(8) : 0xc1d00000 + random_.Below(random_.OneIn(8) ? 200 : 6);
  }

  uint32_t ObjectNumber() {
    if (random_.OneIn(10)) return ClientNumber();
    return random_.OneIn(12) ? 0xcaf00000 + random_.Below(20) : random_.Below(12);
  }

  // Up to a fourth of what a guest may have; now and then far more than there can be.
  uint64_t MemoryBytes() { return random_.OneIn(20) ? uint64_t{1} << 63 : 1 + random_.Below(300'000); }

  // Few numbers, so that duplicates find their originals.
  uint32_t MemoryNumber() { return random_.OneIn(4) ? ObjectNumber() : 1 + random_.Below(3); }

  void PutObject(DriverCall& call, uint32_t offset) { Put<uint32_t>(call.Bytes(0), offset, ObjectNumber()); }

  // An escape whose struct is zero but for its client and, as it were, a parent below that client.
  DriverCall OnClient(uint32_t number, uint32_t size_bytes) {
    DriverCall call;
    call.command = Escape(number, size_bytes);
    Add(call, size_bytes, 0, 0);
    const uint32_t client = ClientNumber();
    Put<uint32_t>(call.Bytes(0), 0, client);
    Put<uint32_t>(call.Bytes(0), 4, random_.OneIn(2) ? client : ObjectNumber());
    return call;
  }

  DriverCall Alloc() {
    DriverCall call = OnClient(0x2b, random_.OneIn(3) ? 48 : 32);
    uint32_t rm_class =
        Pick<uint32_t>(random_, {0x41, 0x0, 0x80, 0x80, 0x80, 0x2080, 0x79, 0x3e, 0x40, 0x40, 0x83de, 0x81});
    if (hints_.clients.empty() && !random_.OneIn(4)) rm_class = 0x41;
    Put<uint32_t>(call.Bytes(0), 12, rm_class);
    if (rm_class != 0x41 || random_.OneIn(4)) PutObject(call, 8);
    const abi::Spec* spec = abi::Find(Table535().classes, rm_class);
    if (spec == nullptr || spec->size == 0 || (spec->params_optional && random_.OneIn(2))) return call;
    Add(call, spec->size, 0, 16);
    for (uint16_t offset : spec->clients)
      if (!random_.OneIn(3)) Put<uint32_t>(call.Bytes(1), offset, ClientNumber());
    if (rm_class != 0x3e && rm_class != 0x40) return call;
    Put<uint32_t>(call.Bytes(0), 8, MemoryNumber());
    Put<uint64_t>(call.Bytes(1), 64, MemoryBytes());
    return call;
  }

  DriverCall Control() {
    DriverCall call = OnClient(0x2a, 32);
    const abi::SpecList& controls = Table535().controls;
    const abi::Spec& spec = controls[random_.Below(static_cast<uint32_t>(controls.size))];
    Put<uint32_t>(call.Bytes(0), 8, random_.OneIn(10) ? random_.Below(0xffffffff) : spec.number);
    Put<uint32_t>(call.Bytes(0), 24, spec.size);
    if (spec.size == 0) return call;
    Add(call, spec.size, 0, 16);
    for (uint16_t offset : spec.clients) Put<uint32_t>(call.Bytes(1), offset, ClientNumber());
    for (const abi::Pointer& pointer : spec.pointers) {
      if (pointer.count_offset == abi::kNone || random_.OneIn(3)) continue;
      Put<uint32_t>(call.Bytes(1), pointer.count_offset, 3);
      Add(call, 3 * pointer.element_size, 1, pointer.offset);
    }
    return call;
  }

  DriverCall Uvm() {
    const abi::SpecList& calls = Table535().uvm;
    const abi::Spec& spec = calls[random_.Below(static_cast<uint32_t>(calls.size))];
    DriverCall call;
    call.command = spec.number;
    if (spec.size != 0) Add(call, spec.size, 0, 0);
    for (uint16_t offset : spec.clients) Put<uint32_t>(call.Bytes(0), offset, ClientNumber());
    return call;
  }

 private:
  Random& random_;
  const Hints& hints_;
};

DriverCall Nonsense(Random& random) {
  DriverCall call;
  const abi::SpecList& escapes = Table535().escapes;
  const abi::Spec& spec = escapes[random.Below(static_cast<uint32_t>(escapes.size))];
  call.command =
      random.OneIn(3) ? random.Below(0xffffffff) : Escape(spec.number, random.OneIn(4) ? 0 : spec.size);
  const uint32_t count = random.Below(8);
  for (uint32_t i = 0; i < count; ++i)
    Add(call, i == 0 && !random.OneIn(4) ? spec.size : random.Below(200), i == 0 ? 0 : random.Below(i),
        random.OneIn(2) ? 16 : random.Below(64));
  for (uint8_t& byte : call.buffer)
    if (random.OneIn(3)) byte = static_cast<uint8_t>(random.Below(256));
  return call;
}

}  // namespace

RandomRequest MakeRandomRequest(Random& random, DeviceClass device_class, const Hints& hints) {
  RandomRequest request;
  Maker maker(random, hints);
  const auto name_file = [&](uint32_t offset) {
    if (!hints.files.empty() && !random.OneIn(10))
      request.files.push_back({0, offset, Pick(random, hints.files)});
  };
  if (random.OneIn(10)) {
    request.call = Nonsense(random);
    name_file(random.Below(64));
    name_file(48);
  } else if (device_class == DeviceClass::kUvm) {
    request.call = maker.Uvm();
    name_file(0);
  } else if (device_class == DeviceClass::kGpu && random.OneIn(3)) {
    request.call.command = Escape(0xc9, 4);  // register
    Add(request.call, 4, 0, 0);
    name_file(0);
  } else {
    request.call = maker.Call();
    if (abi::IocNumber(request.call.command) == 0x4e) name_file(48);  // map
  }
  return request;
}

}  // namespace nvshim::broker
