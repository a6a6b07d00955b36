// See pair.h.
#include "testing/clients/pair.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testing/clients/cuda.h"

int StartPair(void (*child)(int socket), pid_t* pid) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) Fail("no socket pair");
  *pid = fork();
  if (*pid < 0) Fail("no child process");
  if (*pid == 0) {
    close(ends[0]);
    child(ends[1]);
    exit(0);
  }
  close(ends[1]);
  return ends[0];
}

void AwaitChild(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || status != 0) Fail("the other process ends with status 0x%x", status);
}

static void EndInSilence(void) { _Exit(1); }

void Send(int socket, const void* bytes, size_t size) {
  if (send(socket, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) EndInSilence();
}

void Receive(int socket, void* bytes, size_t size) {
  if (recv(socket, bytes, size, MSG_WAITALL) != (ssize_t)size) EndInSilence();
}

// A control message with room for one descriptor, aligned as the kernel wants it.
typedef union {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
} Control;

void SendDescriptor(int socket, int descriptor) {
  char byte = 0;
  struct iovec data = {&byte, 1};
  Control control;
  memset(&control, 0, sizeof(control));
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
  control.header.cmsg_level = SOL_SOCKET;
  control.header.cmsg_type = SCM_RIGHTS;
  control.header.cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
  if (sendmsg(socket, &message, MSG_NOSIGNAL) != 1) EndInSilence();
}

int ReceiveDescriptor(int socket) {
  char byte = 0;
  struct iovec data = {&byte, 1};
  Control control;
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
  int descriptor = -1;
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) EndInSilence();
  if (message.msg_controllen < CMSG_LEN(sizeof(int))) Fail("no descriptor arrives");
  memcpy(&descriptor, CMSG_DATA(&control.header), sizeof(int));
  return descriptor;
}
