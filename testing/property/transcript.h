// Everything that actions say, as bytes: two runs that agree in it agree.
#ifndef TESTING_PROPERTY_TRANSCRIPT_H_
#define TESTING_PROPERTY_TRANSCRIPT_H_

#include <cstdint>
#include <string>

#include "broker/core/action.h"

namespace nvshim::broker {

class Transcript {
 public:
  void Add(const Action& action) {
    Number(action.index());
    std::visit([&](const auto& one) { Put(one); }, action);
  }
  const std::string& text() const { return text_; }

 private:
  void Number(uint64_t value) { text_.append(reinterpret_cast<const char*>(&value), sizeof(value)); }
  void Put(const CallToken& token) {
    Number(static_cast<uint32_t>(token.guest));
    Number(static_cast<uint32_t>(token.process));
    Number(token.lane);
  }
  void Put(const DriverCall& call) {
    Number(call.command);
    text_.append(call.buffer.begin(), call.buffer.end());
    for (const CallFile& file : call.files) Number(file.file);
  }
  void Put(const DriverOpen& one) {
    Put(one.token);
    Number(one.node.minor);
    Number(one.flags);
  }
  void Put(const DriverIoctl& one) {
    Put(one.token);
    Put(one.call);
    Number(one.file);
  }
  void Put(const DriverClose& one) { Number(one.file); }
  void Put(const ReplyOpen& one) {
    Put(one.token);
    Number(one.sequence);
    Number(static_cast<uint32_t>(one.error));
    Number(static_cast<uint32_t>(one.file));
  }
  void Put(const ReplyIoctl& one) {
    Put(one.token);
    Put(one.call);
    for (uint64_t value :
         {one.sequence, static_cast<uint32_t>(one.error), uint32_t{one.with_segments}, one.mapping})
      Number(value);
  }
  void Put(const ClosePlaceholder& one) { Number(static_cast<uint32_t>(one.file)); }
  void Put(const SignalFile& one) { Number(static_cast<uint32_t>(one.file)); }
  void Put(const NoteRefusal& one) { Number(one.refusal.number); }

  std::string text_;
};

}  // namespace nvshim::broker

#endif  // TESTING_PROPERTY_TRANSCRIPT_H_
