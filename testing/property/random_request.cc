#include "testing/property/random_request.h"

#include <algorithm>

namespace nvshim::broker {
namespace {

constexpr uint32_t Escape(uint32_t number, uint32_t size_bytes) {
  return 3u << 30 | size_bytes << 16 | abi::kEscapeType << 8 | number;
}

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
  Maker(Random& random, const abi::Table& table, const Hints& hints)
      : random_(random), table_(table), hints_(hints) {}

  // Something that a ctl file takes.
  DriverCall Call() {
    DriverCall call;
    const uint32_t kind = random_.Below(18);
    if (kind >= 16) return Any(table_.escapes);
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
    if (random_.OneIn(6)) rm_class = SomeOf(table_.classes).number;
    Put<uint32_t>(call.Bytes(0), 12, rm_class);
    const abi::Spec* spec = abi::Find(table_.classes, rm_class);
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
    const abi::Spec& spec =
        random_.OneIn(20) && table_.gss_legacy != nullptr ? *table_.gss_legacy : SomeOf(table_.controls);
    const bool legacy = &spec == table_.gss_legacy;
    const uint32_t size_bytes = legacy ? random_.Below(600) : spec.size;
    Put<uint32_t>(call.Bytes(0), 8,
                  random_.OneIn(10) ? random_.Below(0xffffffff)
                  : legacy          ? 0x2080b123
                                    : spec.number);
    Put<uint32_t>(call.Bytes(0), 24, size_bytes);
    if (size_bytes == 0) return call;
    Add(call, size_bytes, 0, 16);
    Fill(call, spec, 1);
    return call;
  }

  // A call of the list, laid out as its spec says.
  DriverCall Any(const abi::SpecList& list) {
    const abi::Spec& spec = SomeOf(list);
    const uint32_t size_bytes = spec.shape == abi::Shape::kArray ? spec.size * random_.Below(4) : spec.size;
    DriverCall call;
    call.command = list.indices == table_.uvm.indices ? spec.number : Escape(spec.number, size_bytes);
    if (size_bytes == 0) return call;
    Add(call, size_bytes, 0, 0);
    Fill(call, spec, 0);
    return call;
  }

  DriverCall Uvm() { return Any(table_.uvm); }

 private:
  const abi::Spec& SomeOf(const abi::SpecList& list) {
    return list[random_.Below(static_cast<uint32_t>(list.size))];
  }

  // Clients, and buffers for some of the pointers; now and then of a length that the count does not say.
  void Fill(DriverCall& call, const abi::Spec& spec, uint32_t segment) {
    for (uint16_t offset : spec.clients) Put<uint32_t>(call.Bytes(segment), offset, ClientNumber());
    if (spec.share_policy_offset != abi::kNone) {
      const auto policy = call.Bytes(segment).subspan(spec.share_policy_offset);
      Put<uint32_t>(policy, abi::share_policy::kTarget, ClientNumber());
      Put<uint16_t>(policy, abi::share_policy::kType, static_cast<uint16_t>(random_.Below(9)));
      policy[abi::share_policy::kAction] = static_cast<uint8_t>(random_.Below(8));
    }
    for (const abi::Pointer& pointer : spec.pointers) {
      if (random_.OneIn(3)) continue;
      uint32_t count = 1;
      if (pointer.count_offset != abi::kNone) {
        count = random_.OneIn(8) ? random_.Below(0xffffffff) : random_.Below(4);
        Put<uint32_t>(call.Bytes(segment), pointer.count_offset, count);
      }
      const uint64_t size_bytes = uint64_t{count} * pointer.element_size;
      if (size_bytes != 0)
        Add(call, static_cast<uint32_t>(std::min<uint64_t>(size_bytes, 4096)), segment, pointer.offset);
    }
  }

  Random& random_;
  const abi::Table& table_;
  const Hints& hints_;
};

DriverCall Nonsense(Random& random, const abi::Table& table) {
  DriverCall call;
  const abi::SpecList& escapes = table.escapes;
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

RandomRequest MakeRandomRequest(Random& random, const abi::Table& table, DeviceClass device_class,
                                const Hints& hints) {
  RandomRequest request;
  Maker maker(random, table, hints);
  const auto name_file = [&](uint32_t offset) {
    if (!hints.files.empty() && !random.OneIn(10))
      request.files.push_back({0, offset, Pick(random, hints.files)});
  };
  if (random.OneIn(10)) {
    request.call = Nonsense(random, table);
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
