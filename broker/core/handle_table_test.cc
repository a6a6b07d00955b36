// Laws of the handle table: a client is what this guest made and nothing else, the tree below it shrinks as
// the driver's does, and the counts are those of a naive model whatever the history.
#include "broker/core/handle_table.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <map>
#include <set>
#include <vector>

#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

constexpr FileId kFile{0x1000};
constexpr FileId kOtherFile{0x1001};
constexpr uint32_t kClass = 0x80;

ObjectHandle O(uint32_t number) { return static_cast<ObjectHandle>(number); }
ClientHandle C(uint32_t number) { return static_cast<ClientHandle>(number); }
RealClientHandle R(uint32_t number) { return static_cast<RealClientHandle>(number); }

// A client 7 with  1 -> {2 -> {4, 5}, 3}  and 6 below the client.
HandleTable Family() {
  HandleTable handles;
  handles.AddClient(C(7), R(700), kFile);
  handles.AddObject(C(7), O(1), O(7), kClass);
  handles.AddObject(C(7), O(2), O(1), kClass);
  handles.AddObject(C(7), O(3), O(1), kClass);
  handles.AddObject(C(7), O(4), O(2), kClass);
  handles.AddObject(C(7), O(5), O(2), kClass);
  handles.AddObject(C(7), O(6), O(7), kClass);
  return handles;
}

std::set<uint32_t> ObjectsOf(const HandleTable& handles, ClientHandle client) {
  std::set<uint32_t> objects;
  for (uint32_t number = 0; number < 20; ++number)
    if (handles.HasObject(client, O(number))) objects.insert(number);
  return objects;
}

TEST(HandleTableTest, AClientIsFoundUnderItsVirtualNumberOnly) {
  HandleTable handles;
  handles.AddClient(C(7), R(700), kFile);
  ASSERT_TRUE(handles.FindClient(7).has_value());
  EXPECT_EQ(handles.FindClient(7)->real, R(700));
  EXPECT_EQ(handles.FindClient(7)->owner, kFile);
  for (uint32_t number : {0u, 6u, 8u, 700u, 0xffffffffu})
    EXPECT_FALSE(handles.FindClient(number).has_value());
}

TEST(HandleTableTest, AWantedNumberIsGivenIfItIsFree) {
  HandleTable handles;
  EXPECT_EQ(handles.ChooseClient(0x1234), C(0x1234));
  handles.AddClient(C(0x1234), R(1), kFile);
  EXPECT_NE(handles.ChooseClient(0x1234), C(0x1234));
}

TEST(HandleTableTest, ChosenNumbersAreFreeAndLookLikeTheDrivers) {
  HandleTable handles;
  handles.AddClient(C(0xc1d00001), R(1), kFile);
  for (int i = 0; i < 100; ++i) {
    const ClientHandle client = handles.ChooseClient(0);
    EXPECT_TRUE(handles.IsFree(client));
    EXPECT_EQ(static_cast<uint32_t>(client) >> 20, 0xc1du);
    handles.AddClient(client, R(2), kFile);
  }
  EXPECT_EQ(handles.clients(), 101u);
}

TEST(HandleTableTest, AFullTableHasNoRoom) {
  HandleTable handles;
  EXPECT_TRUE(handles.HasRoomForClient());
  for (uint32_t i = 0; i < kClientsPerGuestMax; ++i) handles.AddClient(handles.ChooseClient(0), R(i), kFile);
  EXPECT_FALSE(handles.HasRoomForClient());
}

TEST(HandleTableTest, FreeingAParentFreesItsDescendants) {
  HandleTable handles = Family();
  handles.Free(C(7), O(2));
  EXPECT_EQ(ObjectsOf(handles, C(7)), (std::set<uint32_t>{1, 3, 6}));
  EXPECT_EQ(handles.objects(), 3u);
  handles.Free(C(7), O(1));
  EXPECT_EQ(ObjectsOf(handles, C(7)), (std::set<uint32_t>{6}));
  EXPECT_EQ(handles.objects(), 1u);
}

TEST(HandleTableTest, AnyOfSeveralChildrenMayGoFirst) {
  for (const std::vector<uint32_t>& order :
       {std::vector<uint32_t>{2, 3}, {3, 2}, {4, 5, 2, 3}, {5, 4, 3, 2}}) {
    HandleTable handles = Family();
    for (uint32_t object : order) handles.Free(C(7), O(object));
    EXPECT_EQ(ObjectsOf(handles, C(7)), (std::set<uint32_t>{1, 6}));
    handles.AddObject(C(7), O(9), O(1), kClass);
    handles.Free(C(7), O(1));
    EXPECT_EQ(ObjectsOf(handles, C(7)), (std::set<uint32_t>{6}));
  }
}

TEST(HandleTableTest, FreeingTheClientsOwnNumberFreesTheClient) {
  HandleTable handles = Family();
  handles.AddClient(C(8), R(800), kFile);
  handles.AddObject(C(8), O(1), O(8), kClass);
  handles.Free(C(7), O(7));
  EXPECT_FALSE(handles.FindClient(7).has_value());
  EXPECT_TRUE(handles.FindClient(8).has_value());
  EXPECT_EQ(handles.objects(), 1u);
}

TEST(HandleTableTest, FreeingWhatIsNotThereDoesNothing) {
  HandleTable handles = Family();
  handles.Free(C(9), O(1));
  handles.Free(C(7), O(15));
  handles.Free(C(7), kNoObject);
  EXPECT_EQ(handles.objects(), 6u);
  EXPECT_EQ(handles.clients(), 1u);
}

TEST(HandleTableTest, ClosingAFileFreesTheClientsMadeOnIt) {
  HandleTable handles = Family();
  handles.AddClient(C(8), R(800), kOtherFile);
  handles.AddObject(C(8), O(1), O(8), kClass);
  handles.AddClient(C(9), R(900), kFile);
  handles.FreeClientsOf(kFile);
  EXPECT_EQ(handles.clients(), 1u);
  EXPECT_EQ(handles.objects(), 1u);
  EXPECT_TRUE(handles.HasObject(C(8), O(1)));
}

TEST(HandleTableTest, ObjectsOfTwoClientsMayHaveOneNumber) {
  HandleTable handles = Family();
  handles.AddClient(C(8), R(800), kFile);
  handles.AddObject(C(8), O(1), O(8), kClass);
  handles.Free(C(8), O(1));
  EXPECT_EQ(handles.objects(), 6u);
}

TEST(HandleTableTest, AnUnknownParentStandsForTheClient) {
  HandleTable handles = Family();
  handles.AddObject(C(7), O(9), O(19), kClass);
  handles.AddObject(C(7), O(10), O(10), kClass);  // its own parent
  EXPECT_EQ(handles.objects(), 8u);
  handles.Free(C(7), O(1));
  EXPECT_EQ(ObjectsOf(handles, C(7)), (std::set<uint32_t>{6, 9, 10}));
}

TEST(HandleTableTest, NeitherTheClientsOwnNumberNorZeroIsAnObject) {
  HandleTable handles = Family();
  handles.AddObject(C(7), O(7), O(1), kClass);
  handles.AddObject(C(7), kNoObject, O(1), kClass);
  handles.AddObject(C(99), O(1), O(99), kClass);
  EXPECT_EQ(handles.objects(), 6u);
}

TEST(HandleTableTest, WhatTheDriverMakesAgainReplacesWhatTheTableKnew) {
  HandleTable handles = Family();
  handles.AddObject(C(7), O(2), O(6), kClass);  // its children went with the old one
  EXPECT_EQ(ObjectsOf(handles, C(7)), (std::set<uint32_t>{1, 2, 3, 6}));
  handles.Free(C(7), O(6));
  EXPECT_EQ(ObjectsOf(handles, C(7)), (std::set<uint32_t>{1, 3}));
  handles.AddObject(C(7), O(1), O(3), kClass);  // below its own child: that child is gone
  EXPECT_EQ(ObjectsOf(handles, C(7)), (std::set<uint32_t>{1}));
  EXPECT_EQ(handles.objects(), 1u);
}

// A parent with every child a guest may have, freed oldest first: quadratic here is a minute.
TEST(HandleTableTest, FreeingOneOfManySiblingsCostsNoMoreThanOneOfFew) {
  HandleTable handles;
  handles.AddClient(C(0xc1d00000), R(700), kFile);
  handles.AddObject(C(0xc1d00000), O(1), O(0xc1d00000), kClass);
  for (uint32_t i = 2; i < kObjectsPerGuestMax; ++i) handles.AddObject(C(0xc1d00000), O(i), O(1), kClass);
  const auto start = std::chrono::steady_clock::now();
  for (uint32_t i = 2; i < kObjectsPerGuestMax; ++i) handles.Free(C(0xc1d00000), O(i));
  EXPECT_EQ(handles.objects(), 1u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(HandleTableTest, AChainOfEveryObjectIsFreedWithoutRecursion) {
  HandleTable handles;
  handles.AddClient(C(0xc1d00000), R(700), kFile);
  for (uint32_t i = 1; i <= kObjectsPerGuestMax; ++i)
    handles.AddObject(C(0xc1d00000), O(i), i == 1 ? O(0xc1d00000) : O(i - 1), kClass);
  handles.Free(C(0xc1d00000), O(1));
  EXPECT_EQ(handles.objects(), 0u);
}

// ---- Against a naive model ----

struct Operation {
  enum Kind { kAddClient, kAddObject, kFree, kFreeFile, kKinds } kind;
  uint32_t client;  // of a handful, so that operations meet
  uint32_t object;
  uint32_t parent;
};

void showValue(const Operation& operation, std::ostream& out) {
  static constexpr const char* kNames[] = {"kAddClient", "kAddObject", "kFree", "kFreeFile"};
  out << "{Operation::" << kNames[operation.kind] << ", " << operation.client << ", " << operation.object
      << ", " << operation.parent << "}";
}

struct ModelClient {
  uint32_t file;
  std::map<uint32_t, uint32_t> parents;  // object -> parent
};

struct Model {
  std::map<uint32_t, ModelClient> clients;

  static void FreeTree(ModelClient& client, uint32_t object) {
    if (client.parents.erase(object) == 0) return;
    for (bool more = true; more;) {
      more = false;
      for (const auto& [child, parent] : client.parents)
        if (parent == object) {
          FreeTree(client, child);
          more = true;
          break;
        }
    }
  }

  void Do(const Operation& operation) {
    const auto it = clients.find(operation.client);
    switch (operation.kind) {
      case Operation::kAddClient:
        clients.insert({operation.client, {operation.object % 3, {}}});
        break;
      case Operation::kAddObject:
        if (it == clients.end() || operation.object == 0 || operation.object == operation.client) break;
        FreeTree(it->second, operation.object);
        it->second.parents[operation.object] =
            it->second.parents.contains(operation.parent) ? operation.parent : operation.client;
        break;
      case Operation::kFree:
        if (it == clients.end()) break;
        if (operation.object == operation.client)
          clients.erase(it);
        else
          FreeTree(it->second, operation.object);
        break;
      case Operation::kFreeFile:
        std::erase_if(clients, [&](const auto& one) { return one.second.file == operation.object % 3; });
        break;
      case Operation::kKinds:
        break;
    }
  }

  size_t objects() const {
    size_t count = 0;
    for (const auto& [number, client] : clients) count += client.parents.size();
    return count;
  }
};

void Do(HandleTable& handles, const Operation& operation) {
  const auto file = static_cast<FileId>(operation.object % 3 + 1);
  switch (operation.kind) {
    case Operation::kAddClient:
      if (handles.IsFree(C(operation.client)))
        handles.AddClient(C(operation.client), R(operation.client + 1000), file);
      break;
    case Operation::kAddObject:
      handles.AddObject(C(operation.client), O(operation.object), O(operation.parent), kClass);
      break;
    case Operation::kFree:
      handles.Free(C(operation.client), O(operation.object));
      break;
    case Operation::kFreeFile:
      handles.FreeClientsOf(file);
      break;
    case Operation::kKinds:
      break;
  }
}

constexpr uint32_t kNumbers = 10;  // clients are 0..3 of them, objects and parents any

// What differs, or "".
std::string Difference(const std::vector<Operation>& operations) {
  HandleTable handles;
  Model model;
  for (size_t step = 0; step < operations.size(); ++step) {
    Do(handles, operations[step]);
    model.Do(operations[step]);
    const std::string at = "after step " + std::to_string(step);
    if (handles.clients() != model.clients.size()) return "clients " + at;
    if (handles.objects() != model.objects()) return "objects " + at;
    for (uint32_t client = 0; client < kNumbers; ++client) {
      const auto it = model.clients.find(client);
      if (handles.FindClient(client).has_value() != (it != model.clients.end())) return "a client " + at;
      for (uint32_t object = 0; object < kNumbers; ++object)
        if (handles.HasObject(C(client), O(object)) !=
            (it != model.clients.end() && it->second.parents.contains(object)))
          return "an object " + at;
    }
  }
  return "";
}

RC_GTEST_PROP(HandleTableProperty, AgreesWithANaiveModel, ()) {
  const auto kind = rc::gen::weightedElement<Operation::Kind>({{2, Operation::kAddClient},
                                                               {10, Operation::kAddObject},
                                                               {4, Operation::kFree},
                                                               {1, Operation::kFreeFile}});
  const auto operations = *rc::gen::container<std::vector<Operation>>(rc::gen::construct<Operation>(
      kind, rc::gen::inRange(0u, 4u), rc::gen::inRange(0u, kNumbers), rc::gen::inRange(0u, kNumbers)));
  RC_ASSERT(Difference(operations) == "");
}

// Histories that once made a difference.
TEST(HandleTableTest, Regression) {
  using Op = Operation;
  const std::vector<std::vector<Operation>> histories = {
      // The driver makes an object again below another parent.
      {{Op::kAddClient, 1, 0, 0},
       {Op::kAddObject, 1, 5, 1},
       {Op::kAddObject, 1, 6, 1},
       {Op::kAddObject, 1, 5, 6},
       {Op::kFree, 1, 6, 0}},
      // Its own parent, then again.
      {{Op::kAddClient, 1, 0, 0}, {Op::kAddObject, 1, 5, 5}, {Op::kAddObject, 1, 5, 5}, {Op::kFree, 1, 5, 0}},
      // Handle 0 as a child ends the list of siblings.
      {{Op::kAddClient, 1, 0, 0},
       {Op::kAddObject, 1, 5, 1},
       {Op::kAddObject, 1, 6, 5},
       {Op::kAddObject, 1, 0, 5},
       {Op::kAddObject, 1, 7, 5},
       {Op::kFree, 1, 5, 0}},
  };
  for (const auto& history : histories) EXPECT_EQ(Difference(history), "");
}

}  // namespace
}  // namespace nvshim::broker
