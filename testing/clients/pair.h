// Two processes of one program, a parent and a child, with a socket between them: what IPC and passed
// descriptors need. Both start without CUDA, because a child cannot use what its parent has begun.
#ifndef TESTING_CLIENTS_PAIR_H_
#define TESTING_CLIENTS_PAIR_H_

#include <stddef.h>
#include <sys/types.h>

// Forks; in the child calls `child` with its end of the socket and ends it with 0. Returns the parent's end,
// and the child's process in `pid`.
int StartPair(void (*child)(int socket), pid_t* pid);

// Fails unless the child ended with 0.
void AwaitChild(pid_t pid);

// Exactly `size` bytes. When the other process is gone these end this one with 1, in silence: that one has
// said why.
void Send(int socket, const void* bytes, size_t size);
void Receive(int socket, void* bytes, size_t size);

// A descriptor, over the same socket.
void SendDescriptor(int socket, int descriptor);
int ReceiveDescriptor(int socket);

#endif  // TESTING_CLIENTS_PAIR_H_
