// A guest without the shim: speaks the protocol of proto/frame.proto through libprotobuf, byte by byte as a
// test wants it. Written from the protocol's description alone, so it is also the proof that a guest can be
// written in another language. What a hostile guest would do with the region it can do here: base() is the
// mapping itself.
#ifndef TESTING_GUEST_RAW_GUEST_H_
#define TESTING_GUEST_RAW_GUEST_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proto/frame.pb.h"
#include "proto/wire/frame.h"
#include "proto/wire/region.h"
#include "proto/wire/ring.h"

namespace nvshim::testing {

// One buffer of an ioctl: the struct itself, or what a pointer in an earlier one leads to.
struct Buffer {
  std::vector<uint8_t> bytes;
  uint32_t parent = 0;
  uint32_t pointer_offset = 0;
};

struct OpenAnswer {
  int error = 0;
  uint32_t file_id = 0;
  int fd = -1;  // the placeholder, owned by the caller
};

struct IoctlAnswer {
  int error = 0;
  int fd = -1;  // the file that came with the reply, owned by the caller
  std::vector<std::vector<uint8_t>> segments;
};

class RawGuest {
 public:
  // Takes over a connected SOCK_SEQPACKET socket. Null when the broker refuses; `refusal` tells then.
  static std::unique_ptr<RawGuest> Attach(int channel, Refused* refusal = nullptr);
  static std::unique_ptr<RawGuest> Connect(const std::string& socket_path, Refused* refusal = nullptr);
  ~RawGuest();

  const Welcome& welcome() const { return welcome_; }
  uint8_t* base() const { return base_; }
  int memfd() const { return memfd_; }
  int channel() const { return channel_; }

  // Each waits for the reply on `lane`; nothing when the broker hangs up first.
  std::optional<OpenAnswer> Open(DeviceClass device_class, uint32_t minor = 0, uint32_t lane = 0);
  std::optional<IoctlAnswer> Ioctl(uint32_t file_id, uint32_t command, const std::vector<Buffer>& buffers,
                                   const std::vector<FileReference>& files = {}, uint32_t lane = 0);

  // Publishes any bytes as a frame, rings, and does not wait. False when the ring has no room.
  bool Publish(uint32_t lane, std::span<const uint8_t> bytes);
  void Ring(uint64_t lanes);

  // True when the broker has closed the channel. Does not wait.
  bool HungUp() const;

 private:
  RawGuest(int channel, Welcome welcome, int memfd, int doorbell, uint8_t* base);
  struct Reply {
    wire::FrameHeader header;
    std::string body;
    std::vector<uint8_t> payload;
  };
  std::optional<Reply> Call(uint32_t lane, wire::FrameKind kind, uint32_t file_id, const std::string& body,
                            std::span<const uint8_t> payload);
  int TakeFd();

  int channel_;
  Welcome welcome_;
  int memfd_;
  int doorbell_;
  uint8_t* base_;
  uint32_t sequence_ = 0;
  std::array<wire::RingProducer, wire::kLaneCount> requests_;
  std::array<wire::RingConsumer, wire::kLaneCount> responses_;
};

// ---- The few RM calls that tests make; layouts of nvos.h ----

inline constexpr uint32_t kIoctlRmAlloc = 0xc020462b;    // NVOS21
inline constexpr uint32_t kIoctlRmControl = 0xc020462a;  // NVOS54
inline constexpr uint32_t kIoctlRmFree = 0xc0104629;     // NVOS00
inline constexpr uint32_t kIoctlCheckVersion = 0xc04846d2;

template <typename T>
T ReadAt(const std::vector<uint8_t>& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}
template <typename T>
void WriteAt(std::vector<uint8_t>& bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

struct AllocAnswer {
  uint32_t status;
  uint32_t handle;
};

// NV01_ROOT on a ctl file.
std::optional<AllocAnswer> AllocClient(RawGuest& guest, uint32_t file_id, uint32_t lane = 0);
// A class without parameters, or with `params`.
std::optional<AllocAnswer> AllocObject(RawGuest& guest, uint32_t file_id, uint32_t client, uint32_t parent,
                                       uint32_t object, uint32_t rm_class, std::vector<uint8_t> params = {});
// NV_STATUS of an RM control; `params` in and out.
std::optional<uint32_t> Control(RawGuest& guest, uint32_t file_id, uint32_t client, uint32_t object,
                                uint32_t cmd, std::vector<uint8_t>& params, uint32_t lane = 0);
std::optional<uint32_t> Free(RawGuest& guest, uint32_t file_id, uint32_t client, uint32_t object);

}  // namespace nvshim::testing

#endif  // TESTING_GUEST_RAW_GUEST_H_
