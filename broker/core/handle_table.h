// The RM handles of one guest: its clients, under the guest's own virtual numbers, and below each client the
// tree of objects as the driver keeps it. A handle that is not in here does not exist for this guest. Object
// handles are the guest's own choice and pass unchanged; client handles of the driver are global to the
// machine and never shown. Pure; bounded by kClientsPerGuestMax and, by who asks before it
// adds objects, kObjectsPerGuestMax.
#ifndef BROKER_CORE_HANDLE_TABLE_H_
#define BROKER_CORE_HANDLE_TABLE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "broker/core/ids.h"
#include "broker/core/quota.h"

namespace nvshim::broker {

// RM takes 0 in hObjectNew as "choose one": no object has that handle.
inline constexpr ObjectHandle kNoObject{0};

// Stands for hClass of what RM_DUP_OBJECT made, which names none. No object has the class of clients.
inline constexpr uint32_t kDuplicate = 0;

// The children of an object form a list through their sibling links, so that freeing one of 100,000 costs
// what freeing one of two does.
struct Object {
  uint32_t rm_class;    // hClass, or kDuplicate
  ObjectHandle parent;  // the client's own number for children of the client, which are in no list
  ObjectHandle first_child = kNoObject;
  ObjectHandle next_sibling = kNoObject;
  ObjectHandle previous_sibling = kNoObject;
  SharedCharge memory;  // video memory; duplicates share it
};

// Video memory of one process, as NV2080_CTRL_GPU_PID_INFO_VIDEO_MEMORY_USAGE_DATA tells it apart.
struct MemoryUsage {
  uint64_t private_bytes = 0;
  uint64_t shared_owned_bytes = 0;      // with duplicates somewhere
  uint64_t shared_duplicate_bytes = 0;  // a duplicate of something that still exists
};

class HandleTable {
 public:
  // Room for one more client? Asked before the driver is called.
  bool HasRoomForClient() const;

  // The virtual handle a new client gets: `wanted` if it is not 0 and free, else the next free number.
  ClientHandle ChooseClient(uint32_t wanted);
  bool IsFree(ClientHandle client) const { return !clients_.contains(client); }

  // Records a client that the driver made on `owner`, for a process that calls itself `pid`. The virtual
  // handle must be free.
  void AddClient(ClientHandle client, RealClientHandle real, FileId owner, uint32_t pid = 0);

  struct ClientView {
    RealClientHandle real;
    FileId owner;
  };
  // What the guest means by `handle_untrusted`, or nothing.
  std::optional<ClientView> FindClient(uint32_t handle_untrusted) const;

  // Records an object that the driver made. A parent that is not in the table stands for the client itself:
  // the driver has accepted it. What the table knows under that handle so far, the driver has freed unasked
  // (as a dependent of something else): it goes, with its descendants.
  void AddObject(ClientHandle client, ObjectHandle object, ObjectHandle parent, uint32_t rm_class,
                 SharedCharge memory = nullptr);

  // The video memory of an object; null when it has none, or is not there.
  SharedCharge MemoryOf(ClientHandle client, ObjectHandle object) const;

  // Frees an object and its descendants, or, when `object` is the client's own number, the client. Unknown:
  // nothing.
  void Free(ClientHandle client, ObjectHandle object);

  // Frees every client made on `owner`: the file is closed.
  void FreeClientsOf(FileId owner);

  bool HasObject(ClientHandle client, ObjectHandle object) const;

  // By pid, of the processes that made clients and told one. Both look at every object.
  std::map<uint32_t, MemoryUsage> MemoryByPid() const;
  std::set<uint32_t> PidsWithClass(uint32_t rm_class) const;

  size_t clients() const { return clients_.size(); }
  size_t objects() const { return objects_; }

 private:
  using Objects = absl::flat_hash_map<ObjectHandle, Object>;
  struct Client {
    RealClientHandle real;
    FileId owner;
    uint32_t pid;
    Objects objects;
  };

  static void LinkBelow(Objects& objects, ObjectHandle parent, ObjectHandle child);
  static void Unlink(Objects& objects, const Object& child);
  void FreeTree(Objects& objects, Objects::iterator top);

  absl::flat_hash_map<ClientHandle, Client> clients_;
  uint32_t next_client_ = 0;
  size_t objects_ = 0;
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_HANDLE_TABLE_H_
