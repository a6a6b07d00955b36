// The exchange of bytes over ONC RPC (libtirpc) on a Unix stream socket: one procedure that gives back the
// opaque bytes that it gets.
#include <rpc/rpc.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "testing/bench/peer_main.h"

namespace nvshim::bench {
namespace {

constexpr rpcprog_t kProgram = 0x20000001;  // of the range that is left to users
constexpr rpcvers_t kVersion = 1;
constexpr rpcproc_t kExchange = 1;
constexpr u_int kBytesMax = 1u << 20;

struct Opaque {
  char* bytes = nullptr;
  u_int size_bytes = 0;
};

bool_t Code(XDR* xdr, Opaque* opaque) {
  return xdr_bytes(xdr, &opaque->bytes, &opaque->size_bytes, kBytesMax);
}
const auto kCode = reinterpret_cast<xdrproc_t>(Code);

void Dispatch(svc_req* request, SVCXPRT* transport) {
  if (request->rq_proc != kExchange) return svcerr_noproc(transport);
  Opaque opaque;
  if (!svc_getargs(transport, kCode, reinterpret_cast<char*>(&opaque))) return svcerr_decode(transport);
  svc_sendreply(transport, kCode, reinterpret_cast<char*>(&opaque));
  svc_freeargs(transport, kCode, reinterpret_cast<char*>(&opaque));
}

[[noreturn]] void Serve(int socket, bool apart) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (apart) StayOn(1);
  SVCXPRT* transport = svc_fd_create(socket, 0, 0);
  if (transport == nullptr || !svc_register(transport, kProgram, kVersion, Dispatch, 0)) Die("svc");
  svc_run();
  _exit(0);
}

class Client {
 public:
  Client(int socket, size_t size_bytes) : bytes_(size_bytes, 'x') {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    netbuf address{sizeof(name), sizeof(name), &name};
    client_ = clnt_vc_create(socket, &address, kProgram, kVersion, 0, 0);
    if (client_ == nullptr) Die("clnt_vc_create");
  }
  void operator()() {
    Opaque request{bytes_.data(), static_cast<u_int>(bytes_.size())};
    Opaque reply;
    const timeval patience{20, 0};
    const clnt_stat status = clnt_call(client_, kExchange, kCode, reinterpret_cast<char*>(&request), kCode,
                                       reinterpret_cast<char*>(&reply), patience);
    if (status != RPC_SUCCESS || reply.size_bytes != bytes_.size()) Die(clnt_sperrno(status));
    std::free(reply.bytes);
  }

 private:
  std::vector<char> bytes_;
  CLIENT* client_;
};

// Both ends of a connection, by name: the server's side of libtirpc asks who its peer is.
void Connect(int* client, int* server) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "nvshim-bench-rpc-" + std::to_string(getpid());
  name.copy(address.sun_path + 1, sizeof(address.sun_path) - 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  *client = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener, 1) != 0 ||
      connect(*client, reinterpret_cast<sockaddr*>(&address), size) != 0)
    Die("socket");
  *server = accept(listener, nullptr, nullptr);
  if (*server < 0) Die("accept");
  close(listener);
}

}  // namespace
}  // namespace nvshim::bench

int main(int argc, char** argv) {
  using namespace nvshim::bench;
  if (argc != 3) return 2;
  const bool apart = std::strcmp(argv[2], "apart") == 0;
  int client_socket, server_socket;
  Connect(&client_socket, &server_socket);
  if (fork() == 0) Serve(server_socket, apart);
  close(server_socket);
  if (apart) StayOn(0);
  Client client(client_socket, std::strtoul(argv[1], nullptr, 10));
  return ServeMeasurements(client);
}
