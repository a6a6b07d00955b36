// Law: a device file passed over a Unix socket (SCM_RIGHTS) to another process of the same guest works there,
// also after the sender has closed its own and has ended. The receiver never opened it, so it must prove to
// the worker that it holds it.
#include <sys/socket.h>

#include "testing/e2e/victims/rm.h"

namespace {

void SendFd(int socket, const victim::Session& session) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  uint32_t client = session.client;
  iovec bytes = {&client, sizeof(client)};
  msghdr message = {};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &session.fd, sizeof(int));
  victim::Law(sendmsg(socket, &message, 0) == sizeof(client), "sendmsg of a device file fails");
}

victim::Session ReceiveFd(int socket) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  victim::Session session = {-1, 0};
  iovec bytes = {&session.client, sizeof(session.client)};
  msghdr message = {};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  victim::Law(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == sizeof(session.client), "recvmsg fails");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  victim::Law(header != nullptr && header->cmsg_type == SCM_RIGHTS, "no descriptor arrives");
  memcpy(&session.fd, CMSG_DATA(header), sizeof(int));
  return session;
}

// The sender: makes the file, passes it, closes it and ends when told to.
void RunSender(int socket) {
  const victim::Session session = victim::OpenSession();
  victim::Probe(session);
  SendFd(socket, session);
  victim::Law(close(session.fd) == 0, "close in the sender fails");
  char byte;
  victim::Law(read(socket, &byte, 1) == 1, "the receiver says nothing");
}

}  // namespace

int main() {
  victim::NeverHang();
  int ends[2];
  victim::Law(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair fails");
  const pid_t sender = fork();  // before any device file is open: nothing is inherited
  victim::Law(sender >= 0, "fork fails");
  if (sender == 0) {
    close(ends[0]);
    RunSender(ends[1]);
    _exit(0);
  }
  close(ends[1]);
  const victim::Session received = ReceiveFd(ends[0]);
  for (int i = 0; i < 50; ++i) victim::Probe(received);
  const victim::Session own = victim::OpenSession();
  victim::Probe(own);
  victim::Law(write(ends[0], "x", 1) == 1, "the sender is gone too early");
  victim::AwaitSuccess(sender, "the sender");
  for (int i = 0; i < 50; ++i) victim::Probe(received);
  victim::Law(close(received.fd) == 0, "close of a received file fails");
  victim::Probe(own);
  return 0;
}
