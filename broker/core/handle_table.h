// The RM handles of one guest: its clients, under the guest's own virtual numbers, and below each client the
// tree of objects as the driver keeps it. A handle that is not in here does not exist for this guest. Object
// handles are the guest's own choice and pass unchanged; client handles of the driver are global to the
// machine and never shown. Pure; bounded by kClientsPerGuestMax and kObjectsPerGuestMax.
#ifndef BROKER_CORE_HANDLE_TABLE_H_
#define BROKER_CORE_HANDLE_TABLE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "broker/core/ids.h"

namespace nvshim::broker {

struct Object {
  uint32_t rm_class;    // hClass
  ObjectHandle parent;  // the client's own number for children of the client
  std::vector<ObjectHandle> children;
};

class HandleTable {
 public:
  // Room for one more client or object? Asked before the driver is called.
  bool HasRoomForClient() const;
  bool HasRoomForObject() const;

  // The virtual handle a new client gets: `wanted` if it is not 0 and free, else the next free number.
  ClientHandle ChooseClient(uint32_t wanted);
  bool IsFree(ClientHandle client) const { return !clients_.contains(client); }

  // Records a client that the driver made on `owner`. The virtual handle must be free.
  void AddClient(ClientHandle client, RealClientHandle real, FileId owner);

  struct ClientView {
    RealClientHandle real;
    FileId owner;
  };
  // What the guest means by `handle_untrusted`, or nothing.
  std::optional<ClientView> FindClient(uint32_t handle_untrusted) const;

  // Records an object that the driver made. A parent that is not in the table stands for the client itself:
  // the driver has accepted it. A handle that exists already is left as it is.
  void AddObject(ClientHandle client, ObjectHandle object, ObjectHandle parent, uint32_t rm_class);

  // Frees an object and its descendants, or, when `object` is the client's own number, the client. Unknown:
  // nothing.
  void Free(ClientHandle client, ObjectHandle object);

  // Frees every client made on `owner`: the file is closed.
  void FreeClientsOf(FileId owner);

  bool HasObject(ClientHandle client, ObjectHandle object) const;
  size_t clients() const { return clients_.size(); }
  size_t objects() const { return objects_; }

 private:
  struct Client {
    RealClientHandle real;
    FileId owner;
    absl::flat_hash_map<ObjectHandle, Object> objects;
  };

  absl::flat_hash_map<ClientHandle, Client> clients_;
  uint32_t next_client_ = 0;
  size_t objects_ = 0;
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_HANDLE_TABLE_H_
