// Who is a guest, and of which worker. Pure: no system calls, and the time is told. One thread.
#ifndef BROKER_SUPERVISOR_GUEST_TABLE_H_
#define BROKER_SUPERVISOR_GUEST_TABLE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nvshim::broker {

class GuestTable {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // A worker and a number, which is that of one guest of the worker.
  using Key = std::pair<uint32_t, uint32_t>;

  struct Guest {
    std::string name;
    uint64_t instance = 0;
    uint64_t attached = 0;              // processes that were passed to its worker so far
    std::optional<Time> empty_since{};  // since when it has neither processes nor files
    bool is_killed = false;             // nobody waits for its next process once it is empty
  };

  // The guest that new processes of `name` belong to.
  std::optional<Key> Find(const std::string& name) const;

  // A guest that nobody of this name was before. Its number is that of no other guest that was seen here.
  Key Add(uint32_t worker, const std::string& name, uint64_t instance);

  // A guest that its worker serves since before this table. New processes go to the first that has a name.
  void Adopt(Key key, Guest guest);

  const Guest& Get(Key key) const { return guests_.at(key); }
  const std::map<Key, Guest>& all() const { return guests_; }

  // Of those that are called `name`, or have this number, all. A name that is a number is a name.
  std::vector<Key> KeysOf(const std::string& name_or_number) const;

  // One more process is passed to its worker.
  void NoteAttached(Key key);

  // Its worker was told to empty it.
  void NoteKilled(Key key) { guests_.at(key).is_killed = true; }

  // Its worker says that the guest is empty, after `attached` processes. False when more are on the way, or
  // there is no such guest.
  bool NoteEmpty(Key key, uint64_t attached, Time now);

  // Those that have been empty since `since` or longer.
  std::vector<Key> EmptySince(Time since) const;

  // Since when the guest has been empty that has been so for longest; nothing when none is.
  std::optional<Time> OldestEmpty() const;

  void Remove(Key key);

  // Removes all guests of a worker; how many they were.
  size_t RemoveWorker(uint32_t worker);

  size_t size() const { return guests_.size(); }
  size_t busy() const;  // guests that are not empty

 private:
  std::map<Key, Guest> guests_;
  std::map<std::string, Key> by_name_;
  uint32_t next_number_ = 1;
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_GUEST_TABLE_H_
