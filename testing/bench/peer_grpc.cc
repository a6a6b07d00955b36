// The exchange of bytes over gRPC on a Unix socket: a unary call of raw bytes, so that no message has to be
// encoded. The server is a process of its own with gRPC's threads, as API servers have.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/method_handler.h>
#include <grpcpp/impl/codegen/rpc_service_method.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "testing/bench/peer_main.h"

namespace nvshim::bench {
namespace {

constexpr char kMethod[] = "/nvshim.bench.Echo/Exchange";

class EchoService final : public grpc::Service {
 public:
  EchoService() {
    AddMethod(new grpc::internal::RpcServiceMethod(
        kMethod, grpc::internal::RpcMethod::NORMAL_RPC,
        new grpc::internal::RpcMethodHandler<EchoService, grpc::ByteBuffer, grpc::ByteBuffer,
                                             grpc::ByteBuffer, grpc::ByteBuffer>(
            [](EchoService*, grpc::ServerContext*, const grpc::ByteBuffer* request, grpc::ByteBuffer* reply) {
              *reply = *request;
              return grpc::Status::OK;
            },
            this)));
  }
};

[[noreturn]] void Serve(const std::string& address, bool apart) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (apart) StayOn(1);
  EchoService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  if (server == nullptr) Die("grpc server");
  server->Wait();
  _exit(0);
}

class Client {
 public:
  Client(const std::string& address, size_t size_bytes)
      : channel_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())),
        method_(kMethod, grpc::internal::RpcMethod::NORMAL_RPC, channel_),
        bytes_(std::string(size_bytes, 'x')) {
    if (!channel_->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(20)))
      Die("grpc channel");
  }
  void operator()() {
    grpc::ClientContext context;
    const grpc::ByteBuffer request(&bytes_, 1);
    grpc::ByteBuffer reply;
    const grpc::Status status =
        grpc::internal::BlockingUnaryCall(channel_.get(), method_, &context, request, &reply);
    if (!status.ok() || reply.Length() != bytes_.size()) Die(status.error_message().c_str());
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  grpc::internal::RpcMethod method_;
  grpc::Slice bytes_;
};

}  // namespace
}  // namespace nvshim::bench

int main(int argc, char** argv) {
  using namespace nvshim::bench;
  if (argc != 3) return 2;
  const bool apart = std::strcmp(argv[2], "apart") == 0;
  const std::string address = "unix-abstract:nvshim-bench-grpc-" + std::to_string(getpid());
  if (fork() == 0) Serve(address, apart);  // before gRPC has threads here
  if (apart) StayOn(0);
  Client client(address, std::strtoul(argv[1], nullptr, 10));
  return ServeMeasurements(client);
}
