// Recognises an open device file of a guest by nothing but the fd: the placeholder is one end of a socket
// pair, and the address of its other end (the worker's) says which guest, file and device it stands for. So a
// file that came by dup, fork, exec or over a socket is found although this process never opened it.
#ifndef PRELOAD_PLACEHOLDER_H_
#define PRELOAD_PLACEHOLDER_H_

#include <cstdint>
#include <string_view>

#include "preload/paths.h"

namespace nvshim::preload {

struct Placeholder {
  uint64_t guest_instance = 0;
  uint32_t file_id = 0;
  DeviceClass device_class = DeviceClass::kNone;
  uint32_t minor = 0;
};

// Takes the peer's abstract address apart, without its leading NUL:
// "nvshim/<16 hex digits>/<8 hex digits>/<class>/<minor>". False for every other text.
bool ParsePlaceholder(std::string_view name, Placeholder* placeholder);

// True when `fd` is a placeholder, whether or not its worker is alive.
bool ReadPlaceholder(int fd, Placeholder* placeholder);

// True when the worker has closed its end of the placeholder `fd`, or is dead.
bool PlaceholderIsDead(int fd);

// Tells the worker that this process, `process_id` of Welcome, holds the placeholder `fd`. False when the
// worker has closed its end.
bool ClaimPlaceholder(int fd, uint32_t process_id);

}  // namespace nvshim::preload

#endif  // PRELOAD_PLACEHOLDER_H_
