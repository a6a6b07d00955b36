// Law: whatever two processes of a guest make, put into files, take out of them, free and close, and in
// whatever order, the guest is charged for each piece of memory once, exactly as long as an object or a file
// has it; and in the end for nothing. The model knows nothing but who has which piece.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/core_test_fixture.h"
#include "proto/abi/exported_objects.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kClients = 2, kFiles = 3, kObjects = 5, kPlaces = 4;
constexpr uint64_t kUnitBytes = 1 << 20;  // piece n is of n + 1 units, so that sums tell pieces apart

struct Operation {
  enum Kind { kMake, kFree, kFreeClient, kExportOne, kImportOne, kExportMany, kImportMany, kClose };
  Kind kind;
  uint32_t client, file, object, other, place;
};

std::ostream& operator<<(std::ostream& out, const Operation& one) {
  return out << "{" << one.kind << ", " << one.client << ", " << one.file << ", " << one.object << ", "
             << one.other << ", " << one.place << "}";
}

// The core over a driver that does what the model says.
class Histories : public CoreTest {
 public:
  Histories() {
    for (uint32_t i = 0; i < kClients; ++i) {
      ctls_.push_back(Open(kA));
      MakeClientOf(i);
    }
    for (uint32_t i = 0; i < kFiles; ++i) files_.push_back(Open(kA));
  }
  void TestBody() override {}

  // What is wrong after one of the operations; "" when nothing is.
  std::string Run(const std::vector<Operation>& operations) {
    for (size_t i = 0; i < operations.size(); ++i) {
      Do(operations[i]);
      if (const std::string problem = Compare(); !problem.empty())
        return "after operation " + std::to_string(i) + ": " + problem;
    }
    for (FileId file : files_) Step(FileHungUp{kA, file});
    for (FileId file : ctls_) Step(FileHungUp{kA, file});
    objects_.clear();
    places_.clear();
    return Compare();
  }

 private:
  using Object = std::pair<uint32_t, uint32_t>;  // client, number
  using Place = std::pair<uint32_t, uint32_t>;   // file, place

  void MakeClientOf(uint32_t i) { numbers_[i] = NewClient(kA, ctls_[i]); }

  std::string Compare() {
    std::set<uint32_t> pieces;
    for (const auto& [object, piece] : objects_) pieces.insert(piece);
    for (const auto& [place, piece] : places_) pieces.insert(piece);
    uint64_t bytes = 0;
    for (uint32_t piece : pieces) bytes += (piece + 1) * kUnitBytes;
    const GuestStatisticsView view = core_.Statistics(kA);
    if (view.memory_bytes != bytes)
      return std::to_string(view.memory_bytes) + " bytes are charged, " + std::to_string(bytes) +
             " are right";
    if (view.objects != objects_.size() + places_.size())
      return std::to_string(view.objects) + " objects, " + std::to_string(objects_.size() + places_.size()) +
             " are right";
    return "";
  }

  // Sends a request that the driver answers with `status`, after `write` has written its answer.
  void Ask(
      uint32_t client, const Request& request, uint32_t status_offset, uint32_t status,
      const std::function<void(DriverCall&)>& write = [](DriverCall&) {}) {
    answer_ = [&](DriverCall& call) {
      write(call);
      Put<uint32_t>(call.Bytes(0), status_offset, status);
      return 0;
    };
    Call(kA, ctls_[client], request);
    answer_ = [this](DriverCall& call) { return Ordinary(call); };
  }

  void Do(const Operation& one) {
    const uint32_t object = one.object + 1;
    const auto found = objects_.find({one.client, object});
    switch (one.kind) {
      case Operation::kMake: {
        const uint32_t number = numbers_[one.client], piece = next_piece_ % 64;
        Request request(kVidHeap, 184);
        request.U32(0, 0, number).U32(0, 4, number).U32(0, 8, 2).U32(0, 44, object);
        request.U64(0, 88, (piece + 1) * kUnitBytes);
        const bool taken = found != objects_.end();
        // A piece of this size that still exists would be told from the new one by nothing.
        for (const auto& [other, has] : objects_)
          if (has == piece) return;
        for (const auto& [place, has] : places_)
          if (has == piece) return;
        Ask(one.client, request, 20, taken ? 0x19 : 0);
        if (!taken) objects_[{one.client, object}] = piece;
        ++next_piece_;
        return;
      }
      case Operation::kFree:
        Ask(one.client, Free(numbers_[one.client], object), 12, 0);
        objects_.erase({one.client, object});
        return;
      case Operation::kFreeClient:
        Ask(one.client, Free(numbers_[one.client], numbers_[one.client]), 12, 0);
        std::erase_if(objects_, [&](const auto& entry) { return entry.first.first == one.client; });
        return MakeClientOf(one.client);
      case Operation::kExportOne:
        return Export(one, abi::kExportObjectToFd, 0, {object});
      case Operation::kExportMany:
        return Export(one, abi::kExportObjectsToFd, one.place, {object, one.other});
      case Operation::kImportOne:
        return Import(one, abi::kImportObjectFromFd, 0, {object});
      case Operation::kImportMany:
        return Import(one, abi::kImportObjectsFromFd, one.place, {object, object % kObjects + 1});
      case Operation::kClose:
        Step(FileHungUp{kA, files_[one.file]});
        files_[one.file] = Open(kA);
        std::erase_if(places_, [&](const auto& entry) { return entry.first.first == one.file; });
        return;
    }
  }

  void Export(const Operation& one, uint32_t command, uint32_t place, std::vector<uint32_t> objects) {
    const bool many = command == abi::kExportObjectsToFd;
    Request request = Control(numbers_[one.client], numbers_[one.client], command, many ? 2128 : 24);
    bool all_there = true;
    for (size_t i = 0; i < objects.size(); ++i) {
      const uint32_t first = many ? abi::export_objects::kObjects : abi::export_object::kObject;
      request.U32(1, first + 4 * static_cast<uint32_t>(i), objects[i]);
      all_there &= objects[i] == 0 || objects_.contains({one.client, objects[i]});
    }
    if (many) {
      Put<uint16_t>(request.call.Bytes(1), abi::export_objects::kCount,
                    static_cast<uint16_t>(objects.size()));
      Put<uint16_t>(request.call.Bytes(1), abi::export_objects::kIndex, static_cast<uint16_t>(place));
    }
    request.File(1, many ? abi::export_objects::kFd : abi::export_object::kFd, files_[one.file]);
    Ask(one.client, request, 28, all_there ? 0 : 0x57);
    if (!all_there) return;
    for (uint32_t object : objects) {
      if (object == 0)
        places_.erase({one.file, place});
      else
        places_[{one.file, place}] = objects_.at({one.client, object});
      ++place;
    }
  }

  void Import(const Operation& one, uint32_t command, uint32_t place, std::vector<uint32_t> wanted) {
    const bool many = command == abi::kImportObjectsFromFd;
    const uint32_t first = many ? abi::import_objects::kObjects : abi::import_object::kObject;
    Request request = Control(numbers_[one.client], numbers_[one.client], command, many ? 652 : 20);
    bool possible = many || places_.contains({one.file, place});
    for (size_t i = 0; i < wanted.size(); ++i) {
      request.U32(1, first + 4 * static_cast<uint32_t>(i), wanted[i]);
      const bool full = places_.contains({one.file, place + static_cast<uint32_t>(i)});
      possible &= !full || !objects_.contains({one.client, wanted[i]});
    }
    if (many) {
      Put<uint16_t>(request.call.Bytes(1), abi::import_objects::kCount, static_cast<uint16_t>(wanted.size()));
      Put<uint16_t>(request.call.Bytes(1), abi::import_objects::kIndex, static_cast<uint16_t>(place));
    }
    request.File(1, 0, files_[one.file]);
    Ask(one.client, request, 28, possible ? 0 : 0x19, [&](DriverCall& call) {
      for (uint32_t i = 0; many && i < wanted.size(); ++i)
        call.Bytes(1)[abi::import_objects::kTypes + i] = places_.contains({one.file, place + i}) ? 1 : 0;
    });
    if (!possible) return;
    for (uint32_t number : wanted) {
      if (const auto piece = places_.find({one.file, place}); piece != places_.end())
        objects_[{one.client, number}] = piece->second;
      ++place;
    }
  }

  std::vector<FileId> ctls_, files_;
  std::map<uint32_t, uint32_t> numbers_;  // of the clients
  std::map<Object, uint32_t> objects_;    // which piece of memory it has
  std::map<Place, uint32_t> places_;
  uint32_t next_piece_ = 0;
};

RC_GTEST_PROP(ExportedObjectsProperty, MemoryIsChargedAsLongAsSomebodyHasIt, ()) {
  const auto kind = rc::gen::weightedElement<Operation::Kind>({{6, Operation::kMake},
                                                               {4, Operation::kFree},
                                                               {1, Operation::kFreeClient},
                                                               {4, Operation::kExportOne},
                                                               {4, Operation::kImportOne},
                                                               {4, Operation::kExportMany},
                                                               {4, Operation::kImportMany},
                                                               {2, Operation::kClose}});
  const auto operations = *rc::gen::container<std::vector<Operation>>(rc::gen::construct<Operation>(
      kind, rc::gen::inRange(0u, kClients), rc::gen::inRange(0u, kFiles), rc::gen::inRange(0u, kObjects),
      rc::gen::inRange(0u, kObjects), rc::gen::inRange(0u, kPlaces)));
  RC_ASSERT(Histories().Run(operations) == "");
}

}  // namespace
}  // namespace nvshim::broker
