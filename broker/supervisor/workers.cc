#include "broker/supervisor/workers.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "broker/io/socket.h"
#include "broker/log/log.h"

namespace nvshim::broker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr mode_t kFolderMode = 0700;

// A worker says hello within a turn of its loop. One that a driver holds up for longer is heard later: who
// connects meanwhile waits, and should not wait for one stuck guest.
constexpr std::chrono::seconds kTakeOverTime(2);

// Statistics of a worker with a thousand guests.
constexpr size_t kMessageSizeBytesMax = 256 << 10;

}  // namespace

Workers::Workers(WorkersOptions options, Loop* loop) : options_(std::move(options)), loop_(loop) {
  if (options_.uids) uids_.emplace(*options_.uids);
}

std::string Workers::SocketOf(uint32_t worker) const { return absl::StrCat(options_.folder, "/", worker); }

absl::Status Workers::MakeFolder() const {
  const char* folder = options_.folder.c_str();
  if (mkdir(folder, kFolderMode) != 0 && errno != EEXIST)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot make ", options_.folder));
  struct stat status;
  if (lstat(folder, &status) != 0) return absl::ErrnoToStatus(errno, options_.folder);
  // Whoever could put a socket there could pass for a worker.
  if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 0777) != kFolderMode)
    return absl::FailedPreconditionError(
        absl::StrCat(options_.folder, " must be a folder of the broker's user with mode 0700; remove it"));
  return absl::OkStatus();
}

// ---- Taking over ----

absl::Status Workers::TakeOver() {
  if (auto status = MakeFolder(); !status.ok()) return status;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(options_.folder, error)) {
    uint32_t worker;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &worker)) continue;
    next_ = std::max(next_, worker + 1);
    if (!Find(worker)) unlink(entry.path().c_str());
  }
  if (error) return absl::InternalError(absl::StrCat("cannot read ", options_.folder, ": ", error.message()));
  std::vector<uint32_t> found;
  for (const auto& [worker, record] : workers_) found.push_back(worker);
  const auto deadline = Clock::now() + kTakeOverTime;
  for (uint32_t worker : found) AwaitHello(worker, deadline);
  return absl::OkStatus();
}

// Connects to a worker of an earlier supervisor. False when there is none any more.
bool Workers::Find(uint32_t worker) {
  auto process = FindWorker(SocketOf(worker));
  if (!process.ok()) return false;
  Record& record = workers_[worker];
  record.process = *std::move(process);
  record.uid = {};  // before it is taken anew
  if (uids_) record.uid = uids_->TakeThis(record.process.uid);
  loop_->Poll(record.process.socket.get(), POLLIN | POLLRDHUP, {options_.message_tag, worker});
  return true;
}

void Workers::AwaitHello(uint32_t worker, Clock::time_point deadline) {
  for (;;) {
    OnReadable(worker);
    const auto it = workers_.find(worker);
    if (it == workers_.end() || it->second.identified) return;
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd entry{it->second.process.socket.get(), POLLIN | POLLRDHUP, 0};
    if (wait.count() > 0 && poll(&entry, 1, static_cast<int>(wait.count())) != 0) continue;
    return Log(Severity::kWarning, "a worker does not say whom it serves; its guests get no more processes",
               {{"worker_pid", it->second.process.pid}});
  }
}

// A worker whose supervisor died between starting it and its ListenHere looks like that supervisor to who
// connects in between. Its hello, which comes afterwards, shows that; then another connection tells the
// truth.
bool Workers::Identify(uint32_t worker, const FromWorker& message) {
  Record& record = workers_.at(worker);
  if (record.identified) return true;
  if (!message.has_hello()) return false;
  const auto pid = static_cast<pid_t>(message.hello().pid());
  record.identified = IdentifyWorker(record.process, pid);
  if (record.identified) return true;
  loop_->Cancel({options_.message_tag, worker});
  loop_->Submit(false);  // before the descriptor's number can mean something else
  const bool again = !std::exchange(record.mistaken, true);
  if (again && Find(worker)) return false;
  Log(Severity::kWarning, "a worker says a pid that is not its own; it is left alone", {{"pid", pid}});
  workers_.erase(worker);
  return false;
}

// ---- Starting and ending ----

absl::StatusOr<uint32_t> Workers::Start() {
  WorkerUids::Lease lease;
  std::vector<std::string> arguments = options_.arguments;
  if (uids_) {
    lease = uids_->Take();
    if (!lease.uid()) return absl::ResourceExhaustedError("all user ids of --worker-uid-range are in use");
    arguments.push_back(absl::StrCat("--uid=", *lease.uid()));
  }
  const uint32_t worker = next_++;
  auto process = StartWorker(SocketOf(worker), arguments);
  if (!process.ok()) return process.status();
  loop_->Poll(process->socket.get(), POLLIN | POLLRDHUP, {options_.message_tag, worker});
  workers_.emplace(worker, Record{*std::move(process), std::move(lease), /*identified=*/true});
  return worker;
}

bool Workers::Send(uint32_t worker, const ToWorker& message, std::span<const int> fds) {
  const auto it = workers_.find(worker);
  return it != workers_.end() &&
         broker::Send(it->second.process.socket.get(), message.SerializeAsString(), fds);
}

void Workers::End(uint32_t worker) {
  loop_->Cancel({options_.message_tag, worker});
  loop_->Submit(false);  // before the descriptor's number can mean something else
  auto node = workers_.extract(worker);
  WorkerProcess& process = node.mapped().process;
  KillWorker(process);
  loop_->Poll(process.process.get(), POLLIN, {options_.end_tag, worker});
  ending_.insert(std::move(node));
}

void Workers::EndAll() {
  ending_.merge(workers_);
  for (auto& [worker, record] : ending_) KillWorker(record.process);
  for (auto& [worker, record] : ending_) {
    ReapWorker(record.process, /*wait=*/true);
    unlink(SocketOf(worker).c_str());
  }
  ending_.clear();
  rmdir(options_.folder.c_str());
}

// ---- Completions ----

void Workers::Complete(const Completion& completion) {
  if (completion.tag.kind == options_.end_tag) return OnEnded(completion);
  OnReadable(completion.tag.index);
  const auto it = workers_.find(completion.tag.index);
  const bool poll_ended = !completion.more && completion.result >= 0;  // negative: by Cancel
  if (poll_ended && it != workers_.end())
    loop_->Poll(it->second.process.socket.get(), POLLIN | POLLRDHUP, completion.tag);
}

void Workers::OnReadable(uint32_t worker) {
  std::vector<char> bytes(kMessageSizeBytesMax);
  for (;;) {
    const auto it = workers_.find(worker);
    if (it == workers_.end()) return;
    const ssize_t received = Receive(it->second.process.socket.get(), bytes);
    if (received == kNothingWaits) return;
    if (received == kPeerGone) {
      const pid_t pid = it->second.process.pid;
      End(worker);
      return options_.on_gone(worker, pid);
    }
    FromWorker message;
    if (received == kTooLong || !message.ParseFromArray(bytes.data(), static_cast<int>(received))) continue;
    if (Identify(worker, message)) options_.on_message(worker, message);
  }
}

void Workers::OnEnded(const Completion& completion) {
  const auto it = ending_.find(completion.tag.index);
  if (it == ending_.end()) return;
  if (ReapWorker(it->second.process, /*wait=*/false)) {
    loop_->Cancel(completion.tag);
    unlink(SocketOf(it->first).c_str());
    ending_.erase(it);
    if (options_.on_released) options_.on_released(completion.tag.index);
  } else if (!completion.more) {
    loop_->Poll(it->second.process.process.get(), POLLIN, completion.tag);
  }
}

}  // namespace nvshim::broker
