// The table of attempts that a test prints: one line for each field of each call, with what became of the
// attempts on it.
#ifndef TESTING_HOSTILE_ATTEMPT_TABLE_H_
#define TESTING_HOSTILE_ATTEMPT_TABLE_H_

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace nvshim::testing {

class AttemptTable {
 public:
  // Counts one attempt. `outcome` is how it was refused, or why it is harmless.
  void Count(const std::string& kind, const std::string& spec, const std::string& field,
             const std::string& outcome) {
    ++outcomes_[{kind, spec, field}][outcome];
    ++totals_[outcome];
    ++attempts_;
  }

  uint64_t attempts() const { return attempts_; }
  size_t fields() const { return outcomes_.size(); }

  void Print(const std::string& version) const {
    for (const auto& [field, outcomes] : outcomes_) {
      uint64_t count = 0;
      std::string text;
      for (const auto& [outcome, times] : outcomes) {
        count += times;
        text += (text.empty() ? "" : "; ") + outcome;
        if (outcomes.size() > 1) text += " x" + std::to_string(times);
      }
      std::printf("%-10s %-7s %-52s %-16s %5llu  %s\n", version.c_str(), field[0].c_str(), field[1].c_str(),
                  field[2].c_str(), static_cast<unsigned long long>(count), text.c_str());
    }
    std::printf("%s: %llu attempts on %zu fields\n", version.c_str(),
                static_cast<unsigned long long>(attempts_), fields());
    for (const auto& [outcome, times] : totals_)
      std::printf("%s:   %8llu  %s\n", version.c_str(), static_cast<unsigned long long>(times),
                  outcome.c_str());
  }

 private:
  std::map<std::vector<std::string>, std::map<std::string, uint64_t>> outcomes_;  // by kind, spec, field
  std::map<std::string, uint64_t> totals_;
  uint64_t attempts_ = 0;
};

}  // namespace nvshim::testing

#endif  // TESTING_HOSTILE_ATTEMPT_TABLE_H_
