// Other ways to exchange a few bytes with another process, each against a process that sends back what it
// gets: what a call through the broker is measured beside. All of them are made before the first use of the
// GPU, so that the processes behind them are no guests.
#ifndef TESTING_BENCH_PEERS_H_
#define TESTING_BENCH_PEERS_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace nvshim::bench {

class Peer {
 public:
  virtual ~Peer() = default;
  virtual std::vector<double> Measure(int times, std::chrono::microseconds pause) = 0;
};

// What an exchange sends, and where its other side runs.
struct Exchange {
  size_t size_bytes;
  bool apart;  // the other side stays on CPU 1
};

std::unique_ptr<Peer> MakeSocketPeer(const Exchange& exchange);  // Unix SOCK_SEQPACKET
// POSIX message queues, one in each direction; nothing where messages of that size are not allowed.
std::unique_ptr<Peer> MakeQueuePeer(const Exchange& exchange);
std::unique_ptr<Peer> MakeFutexPeer(const Exchange& exchange);      // a word, no bytes; each side sleeps
std::unique_ptr<Peer> MakeCacheLinePeer(const Exchange& exchange);  // a word, no bytes; each side spins
std::unique_ptr<Peer> MakeDevNullPeer();                            // ioctl of /dev/null, nobody answers

// A program of its own (peer_main.h), which measures when it is told to.
std::unique_ptr<Peer> MakeProgramPeer(const std::string& path, const Exchange& exchange);

}  // namespace nvshim::bench

#endif  // TESTING_BENCH_PEERS_H_
