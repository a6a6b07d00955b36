// What a hook decided: an answer of ours, or none, and then the real function is asked.
#ifndef PRELOAD_ANSWER_H_
#define PRELOAD_ANSWER_H_

#include <errno.h>

namespace nvshim::preload {

struct Answer {
  bool handled = false;
  int result = -1;
};

inline Answer Succeed(int result) { return {true, result}; }

// Sets errno, as the replaced function would.
inline Answer Fail(int error) {
  errno = error;
  return {true, -1};
}

// 0 or an errno, as the functions that return nothing else answer.
inline Answer AnswerOf(int error) { return error == 0 ? Succeed(0) : Fail(error); }

}  // namespace nvshim::preload

#endif  // PRELOAD_ANSWER_H_
