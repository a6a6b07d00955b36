// Which refusals of a guest are worth a line in the log: of each reason one a minute, which says how many
// there were since the last. On the worker's thread.
#ifndef BROKER_WORKER_REFUSAL_LOG_H_
#define BROKER_WORKER_REFUSAL_LOG_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "broker/core/action.h"

namespace nvshim::broker {

class RefusalLog {
 public:
  static constexpr uint64_t kOneLineEveryNs = 60'000'000'000;

  // A line that is due: about `note`, the last of `times` of its reason.
  struct Line {
    NoteRefusal note;
    uint64_t times;
  };

  std::optional<Line> Take(const NoteRefusal& note, uint64_t now_ns) {
    Kind& kind = kinds_[IndexOf(note)];
    kind.last = {note, kind.last.times + 1};
    if (now_ns < kind.due_ns) return std::nullopt;
    kind.due_ns = now_ns + kOneLineEveryNs;
    return TakeLast(kind);
  }

  // What no line has told yet, for when the guest has left.
  template <typename OnLine>
  void TakeRest(OnLine on_line) {
    for (Kind& kind : kinds_)
      if (kind.last.times != 0) on_line(TakeLast(kind));
  }

 private:
  struct Kind {
    uint64_t due_ns = 0;
    Line last{};
  };

  static Line TakeLast(Kind& kind) {
    const Line line = kind.last;
    kind.last.times = 0;
    return line;
  }

  // What a policy in shadow would have refused is a reason of its own, the last.
  static size_t IndexOf(const NoteRefusal& note) {
    return note.in_shadow ? static_cast<size_t>(Reason::kCount) : static_cast<size_t>(note.refusal.reason);
  }

  std::array<Kind, static_cast<size_t>(Reason::kCount) + 1> kinds_{};
};

}  // namespace nvshim::broker

#endif  // BROKER_WORKER_REFUSAL_LOG_H_
