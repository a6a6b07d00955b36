// Law: what foreign_fields_test tries on the core, a guest that speaks raw frames tries on a worker with the
// simulated driver: each attempt is refused with the same status, and the victim has at the end what it had
// at the beginning. Attempts that no frame can carry (empty and overlong segments) are left out here.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"
#include "testing/hostile/attempt_table.h"
#include "testing/hostile/attempts.h"

namespace nvshim::testing {
namespace {

constexpr uint32_t kVictim = 1, kIntruder = 2;

// More than the intruder makes while it tries: numbers beyond are the victim's alone, virtual and real.
constexpr uint32_t kVictimsClients = 400;
constexpr uint32_t kForeignFirst = 0xc1d00000 + 330;

struct Tenant {
  std::unique_ptr<RawGuest> guest;
  std::vector<int> placeholders;

  uint32_t Open(DeviceClass device_class) {
    const auto file = guest->Open(device_class);
    if (!file || file->error != 0) return 0;
    placeholders.push_back(file->fd);
    return file->file_id;
  }
  ~Tenant() {
    for (int fd : placeholders) close(fd);
  }
};

bool CanBeFramed(const HonestRequest& request) {
  const auto& segments = request.call.segments;
  if (segments.size() > wire::kSegmentsPerCallMax || request.files.size() > wire::kFilesPerCallMax)
    return false;
  size_t total_bytes = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    total_bytes += segments[i].size_bytes;
    if (i != 0 && (segments[i].size_bytes == 0 ||
                   segments[i].pointer_offset + 8 > segments[segments[i].parent].size_bytes))
      return false;
  }
  return total_bytes < wire::kRingSizeBytes / 2;
}

std::optional<IoctlAnswer> Send(RawGuest& guest, uint32_t file, const HonestRequest& request) {
  std::vector<Buffer> buffers;
  for (uint32_t i = 0; i < request.call.segments.size(); ++i) {
    const auto bytes = request.call.Bytes(i);
    const broker::CallSegment& segment = request.call.segments[i];
    buffers.push_back({{bytes.begin(), bytes.end()}, segment.parent, segment.pointer_offset});
  }
  std::vector<FileReference> files;
  for (const broker::FileReferenceUntrusted& one : request.files) {
    FileReference& file_reference = files.emplace_back();
    file_reference.set_segment(one.segment);
    file_reference.set_field_offset(one.field_offset);
    file_reference.set_file_id(one.file_id);
  }
  return guest.Ioctl(file, request.call.command, buffers, files);
}

// What the statistics say of a guest.
std::string HoldingsOf(WorkerHarness& worker, uint32_t guest) {
  const WorkerStatistics statistics = worker.Statistics();
  for (const GuestStatistics& one : statistics.guests())
    if (one.guest_id() == guest)
      return std::to_string(one.processes()) + " processes, " + std::to_string(one.files()) + " files, " +
             std::to_string(one.clients()) + " clients, " + std::to_string(one.objects()) + " objects, " +
             std::to_string(one.memory_bytes()) + " bytes";
  return "";
}

TEST(ForeignFieldsWorkerTest, AreRefusedAndTheVictimKeepsWhatItHas) {
  WorkerHarness worker;
  Tenant victim{worker.NewProcess(kVictim), {}};
  Tenant intruder{worker.NewProcess(kIntruder), {}};
  Knowledge knowledge;
  Belongings& own = knowledge.own;
  own.ctl = intruder.Open(DEVICE_CLASS_CTL);
  own.gpu = intruder.Open(DEVICE_CLASS_GPU);
  own.uvm = intruder.Open(DEVICE_CLASS_UVM);
  own.client = AllocClient(*intruder.guest, own.ctl)->handle;
  const uint32_t second_ctl = intruder.Open(DEVICE_CLASS_CTL);
  knowledge.other_files_client = AllocClient(*intruder.guest, second_ctl)->handle;

  const uint32_t victims_ctl = victim.Open(DEVICE_CLASS_CTL);
  uint32_t victims_client = 0;
  for (uint32_t i = 0; i < kVictimsClients; ++i)
    victims_client = AllocClient(*victim.guest, victims_ctl)->handle;
  ASSERT_EQ(AllocObject(*victim.guest, victims_ctl, victims_client, victims_client, 0x5c000001, 0x80,
                        std::vector<uint8_t>(56))
                ->status,
            0u);
  uint32_t victims_file = 0;
  for (int i = 0; i < 8; ++i) victims_file = victim.Open(DEVICE_CLASS_CTL);
  ASSERT_GT(victims_client, kForeignFirst + 20);
  for (uint32_t i = 0; i < 12; ++i) knowledge.foreign_clients.push_back(kForeignFirst + i);
  for (uint32_t value : {victims_client, victims_client + 1, 0xffffffffu, 1u})
    knowledge.foreign_clients.push_back(value);
  knowledge.foreign_files = {0, victims_file, victims_file + 0x1000, 0xffffffff};
  const std::string before = HoldingsOf(worker, kVictim);

  const abi::Table& table = *abi::FindTable("535.261.03");
  AttemptTable attempts;
  ForEachAttempt(table, knowledge, [&](const Attempt& attempt) {
    if (HasFatalFailure() || !CanBeFramed(attempt.request)) return;
    // What it may do with its own is of no interest, and the simulated GPU would remember it.
    if (attempt.field == "-" && !attempt.spec->withheld) return;
    const std::string where = std::string(attempt.spec->name) + ", " + attempt.field;
    const uint32_t file = attempt.request.on == broker::DeviceClass::kCtl   ? own.ctl
                          : attempt.request.on == broker::DeviceClass::kGpu ? own.gpu
                                                                            : own.uvm;
    const auto answer = Send(*intruder.guest, file, attempt.request);
    ASSERT_TRUE(answer) << where << ": the worker hung up";
    if (answer->fd >= 0) close(answer->fd);
    std::string outcome = "harmless: " + attempt.harmless;
    if (attempt.harmless.empty()) {
      const bool told = answer->error == 0 && !answer->segments.empty();
      const uint32_t status = told ? ReadAt<uint32_t>(answer->segments[0], attempt.request.status_offset) : 0;
      EXPECT_EQ(answer->error, attempt.error) << where;
      EXPECT_EQ(status, attempt.status) << where;
      outcome = "refused, " + std::string(attempt.error != 0 ? "errno " : "status ") +
                std::to_string(attempt.error != 0 ? static_cast<uint32_t>(attempt.error) : attempt.status);
    }
    attempts.Count(kKindNames[static_cast<int>(attempt.kind)], std::string(attempt.spec->name),
                   attempt.field.substr(0, attempt.field.find('@')), outcome);
  });
  attempts.Print("535.261.03");
  EXPECT_GT(attempts.attempts(), 5000u);

  EXPECT_EQ(HoldingsOf(worker, kVictim), before);
  std::vector<uint8_t> params(256);
  EXPECT_EQ(Control(*victim.guest, victims_ctl, victims_client, victims_client, 0x214, params), 0u);
}

}  // namespace
}  // namespace nvshim::testing
