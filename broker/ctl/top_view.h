// The picture that `gpu-brokerctl top` shows: what is served and, a row for each guest, what it holds and
// asks. Names of guests come from outside; nothing of them reaches the terminal unescaped. Pure.
#ifndef BROKER_CTL_TOP_VIEW_H_
#define BROKER_CTL_TOP_VIEW_H_

#include <cstddef>
#include <string>
#include <vector>

#include "proto/control.pb.h"

namespace nvshim::broker::ctl {

// Lines of that many columns. `before` are the statistics of `seconds` ago, from which rates are told; null:
// there are none yet. Guests with the most video memory come first; where `lines_max` lines are too few, the
// last one says how many guests are left out.
std::vector<std::string> TopView(const BrokerStatistics& now, const BrokerStatistics* before, double seconds,
                                 size_t lines_max);

}  // namespace nvshim::broker::ctl

#endif  // BROKER_CTL_TOP_VIEW_H_
