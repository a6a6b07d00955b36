// Law: two guests of different uids, at once on one broker, cannot name each other's clients or files. Both
// speak raw frames to the real gpu-broker: the shim, which would never ask such questions, is not involved.
// The first guest is this process, the second its child as another user.
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "testing/guest/raw_guest.h"

namespace nvshim::testing {
namespace {

constexpr uid_t kOtherUid = 65534;
constexpr uint32_t kGetProbedIds = 0x214;
constexpr uint32_t kStatusInvalidClient = 0x23;

// Numbers tried as client handles: RM's own start at this base, and so does every guest's numbering.
constexpr uint32_t kClientBase = 0xc1d00000;
constexpr uint32_t kClientsTried = 4096;

#define REQUIRE(condition)                                                                         \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      std::fprintf(stderr, "LAW BROKEN in uid %u, line %d: %s\n", getuid(), __LINE__, #condition); \
      std::_Exit(1);                                                                               \
    }                                                                                              \
  } while (false)

struct Tenant {
  std::unique_ptr<RawGuest> guest;
  OpenAnswer file;
  std::vector<uint32_t> clients;
};

Tenant Arrive(const std::string& socket, int clients) {
  Tenant tenant{RawGuest::Connect(socket), {}, {}};
  REQUIRE(tenant.guest != nullptr);
  const auto file = tenant.guest->Open(DEVICE_CLASS_CTL);
  REQUIRE(file && file->error == 0);
  tenant.file = *file;
  for (int i = 0; i < clients; ++i) {
    const auto client = AllocClient(*tenant.guest, file->file_id);
    REQUIRE(client && client->status == 0);
    tenant.clients.push_back(client->handle);
  }
  return tenant;
}

std::optional<uint32_t> Probe(Tenant& tenant, uint32_t file_id, uint32_t client) {
  std::vector<uint8_t> params(256);
  return Control(*tenant.guest, file_id, client, client, kGetProbedIds, params);
}

// The intruder has one client; every other number must mean nothing, on its own file and on every file of the
// other.
void Intrude(const std::string& socket, uint64_t victims_instance, uint32_t victims_file) {
  Tenant intruder = Arrive(socket, 1);
  REQUIRE(intruder.guest->welcome().guest_instance() != victims_instance);
  for (uint32_t handle = kClientBase; handle < kClientBase + kClientsTried; ++handle) {
    const auto status = Probe(intruder, intruder.file.file_id, handle);
    REQUIRE(status == (handle == intruder.clients[0] ? 0 : kStatusInvalidClient));
    const auto freed = Free(*intruder.guest, intruder.file.file_id, handle, handle);
    REQUIRE(freed == (handle == intruder.clients[0] ? 0 : kStatusInvalidClient));
    if (handle == intruder.clients[0])
      REQUIRE(AllocObject(*intruder.guest, intruder.file.file_id, 0, 0, handle, 0)->handle == handle);
  }
  // File ids of both guests are numbered alike: the other's number is either nothing here or the guest's own
  // file.
  for (uint32_t file = victims_file; file < victims_file + 64; ++file) {
    if (file == intruder.file.file_id) continue;
    const auto answer = intruder.guest->Ioctl(file, kIoctlCheckVersion, {{std::vector<uint8_t>(72), 0, 0}});
    REQUIRE(answer && answer->error == ENODEV);
  }
}

int Run(const std::string& socket) {
  Tenant victim = Arrive(socket, 8);
  const uint64_t instance = victim.guest->welcome().guest_instance();
  const pid_t child = fork();
  if (child == 0) {
    REQUIRE(setgid(kOtherUid) == 0 && setuid(kOtherUid) == 0);
    Intrude(socket, instance, victim.file.file_id);
    std::_Exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  for (uint32_t client : victim.clients) REQUIRE(Probe(victim, victim.file.file_id, client) == 0);
  close(victim.file.fd);
  return 0;
}

}  // namespace
}  // namespace nvshim::testing

int main() {
  if (getuid() != 0) {
    std::printf("SKIPPED: only root can become another user\n");
    return 0;
  }
  const char* socket = std::getenv("NVSHIM_SOCKET");
  if (socket == nullptr) {
    std::fprintf(stderr, "NVSHIM_SOCKET is not set: run under testing/with-broker\n");
    return 2;
  }
  return nvshim::testing::Run(socket);
}
