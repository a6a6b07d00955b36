// An RM client with a device and a subdevice, and the calls that are made for it, in the words of one driver
// version. Every call has the length that the version's headers say; that another one is refused is tried as
// well.
#ifndef TESTING_RM_CLIENT_SESSION_H_
#define TESTING_RM_CLIENT_SESSION_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "testing/rm_client/dialect.h"

namespace nvshim::rm_client {

inline constexpr uint32_t kDevice = 0x5c000001, kSubdevice = 0x5c000002;
inline constexpr uint32_t kNothing = 0x5c00ffff;  // a handle that is never used
inline constexpr uint32_t kNotFound = 0x57;       // NV_ERR_OBJECT_NOT_FOUND

class Session {
 public:
  // Asks the frontend (version, cards), opens the GPU, and makes the objects. The law is that all of it
  // works, and that the driver says that it is `version`.
  Session(const Dialect& dialect, const std::string& version);
  // Frees the client with all that is left of it.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Dialect& dialect() const { return dialect_; }
  int ctl() const { return ctl_; }
  uint32_t client() const { return client_; }
  uint32_t gpu_id() const { return gpu_id_; }
  uint32_t pci_device_id() const { return pci_device_id_; }

  // The NV_STATUS of an escape whose struct has one; 0 for others. The law is that the ioctl works.
  uint32_t Escape(int fd, std::string_view name, Params& params) const;
  uint32_t Uvm(int fd, std::string_view name, Params& params) const;

  // NV_ESC_RM_ALLOC of a class by its number, with or without parameters; the law is that it works, and that
  // it does not below a parent that is not there.
  void Alloc(uint32_t parent, uint32_t object, uint32_t class_number, Params* params = nullptr) const;
  void Alloc(uint32_t parent, uint32_t object, std::string_view class_name, Params* params = nullptr) const;
  void Free(uint32_t object) const;

  // NV_ESC_RM_CONTROL; the law is that it works, and that it does not with parameters that are 4 bytes
  // longer.
  void Control(uint32_t object, std::string_view name, Params& params) const;
  uint32_t TryControl(uint32_t object, std::string_view name, Params& params) const;

 private:
  void AskFrontend(const std::string& version);
  uint32_t TryAlloc(uint32_t parent, uint32_t object, uint32_t class_number, Params* params) const;
  uint32_t ControlOfSize(uint32_t object, const abi::Fact& control, Params& params, uint32_t size) const;

  const Dialect& dialect_;
  const int ctl_;
  int gpu_;
  uint32_t client_ = 0, gpu_id_ = 0, pci_device_id_ = 0;
};

// One line of what the machine is: the same for every version.
void Say(const char* what, const std::string& value);
void Say(const char* what, uint64_t value);

}  // namespace nvshim::rm_client

#endif  // TESTING_RM_CLIENT_SESSION_H_
