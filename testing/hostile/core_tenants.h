// Two guests on one core, above a driver that only writes down what reaches it: a victim that has clients and
// files of every class, and an intruder. The driver fails every call of the intruder's, so that no attempt
// changes what the next one meets.
#ifndef TESTING_HOSTILE_CORE_TENANTS_H_
#define TESTING_HOSTILE_CORE_TENANTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "broker/core/core.h"
#include "proto/abi/spec.h"
#include "testing/hostile/honest_request.h"

namespace nvshim::testing {

// What became of an attempt.
struct Outcome {
  bool reached_driver = false;
  int error = 0;        // errno of a refusal, or
  uint32_t status = 0;  // its NV_STATUS
  broker::DriverCall at_driver;
};

class CoreTenants {
 public:
  explicit CoreTenants(const abi::Table& table);

  const Belongings& own() const { return own_; }

  // Client numbers that name nothing of the intruder's: of the victim, virtual and real, and near them; the
  // intruder's own real ones.
  const std::vector<uint32_t>& foreign_clients() const { return foreign_clients_; }
  uint32_t own_real_client() const { return own_real_; }
  // A client of the intruder's that was made on another of its files.
  uint32_t other_files_client() const { return other_files_client_; }

  // File ids that the intruder's process does not have: of the victim, closed, another process's, none.
  const std::vector<uint32_t>& foreign_files() const { return foreign_files_; }

  // The intruder asks. What reaches the driver is held to the laws; `broken_law` tells the first one broken.
  Outcome Try(const HonestRequest& request);
  const std::string& broken_law() const { return broken_law_; }

 private:
  static constexpr broker::GuestId kVictim{1}, kIntruder{2};

  void Step(broker::Event event);
  void Do(broker::DriverOpen& one);
  void Do(broker::DriverIoctl& one);
  void Do(broker::DriverClose& one) { owners_.erase(one.file); }
  void Do(broker::ReplyOpen& one) { opened_ = static_cast<uint32_t>(one.file); }
  void Do(broker::ReplyIoctl& one);
  void Do(broker::ClosePlaceholder&) {}
  void Do(broker::SignalFile&) {}
  void Do(broker::NoteRefusal&) {}

  uint32_t Open(broker::GuestId guest, broker::DeviceClass device_class, uint32_t process = 1);
  uint32_t MakeClient(broker::GuestId guest, uint32_t ctl, uint32_t wanted);
  void CheckLaws(const broker::DriverIoctl& one);
  void CheckFields(const abi::Spec& spec, const broker::DriverCall& call, uint32_t segment);
  void Break(const std::string& law);

  const abi::Table& table_;
  broker::Core core_;
  std::map<broker::DriverFileId, broker::GuestId> owners_;  // of open driver files
  std::map<uint32_t, broker::GuestId> real_clients_;
  broker::DriverFileId last_file_ = 0;
  uint32_t next_real_ = 0;
  uint32_t sequence_ = 0;
  bool attempting_ = false;
  broker::DeviceClass on_ = broker::DeviceClass::kCtl;
  Outcome outcome_;
  uint16_t status_offset_ = abi::kNone;
  uint32_t opened_ = 0;
  uint32_t made_ = 0;
  std::string broken_law_;
  Belongings own_;
  uint32_t own_real_ = 0;
  uint32_t other_files_client_ = 0;
  std::vector<uint32_t> foreign_clients_;
  std::vector<uint32_t> foreign_files_;
};

}  // namespace nvshim::testing

#endif  // TESTING_HOSTILE_CORE_TENANTS_H_
