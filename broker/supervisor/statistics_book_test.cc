#include "broker/supervisor/statistics_book.h"

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

WorkerStatistics WithMemory(uint64_t first_bytes, uint64_t second_bytes) {
  WorkerStatistics statistics;
  for (uint64_t bytes : {first_bytes, second_bytes}) {
    GuestStatistics* guest = statistics.add_guests();
    guest->set_memory_bytes(bytes);
    guest->set_opens_total(1);
    guest->set_ioctls_total(2);
    (*guest->mutable_refusals_total())["malformed"] = 3;
  }
  return statistics;
}

TEST(StatisticsBookTest, SumsOverGuestsAreTheTotals) {
  StatisticsBook book;
  for (uint32_t worker : {1u, 2u}) {
    book.NoteAsked(worker);
    book.NoteAnswered(worker, WithMemory(10 * worker, 100 * worker));
  }
  BrokerStatistics sum;
  book.AddTo(&sum);
  EXPECT_EQ(sum.guests(), 4u);
  EXPECT_EQ(sum.memory_bytes(), 330u);
  EXPECT_EQ(sum.frames(), 12u);
  EXPECT_EQ(sum.refusals(), 12u);
  EXPECT_EQ(sum.workers_size(), 2);
}

// Or who has changed something would be told that it is done while a worker has not heard of it.
TEST(StatisticsBookTest, AnAnswerToAnEarlierQuestionIsNotTheAnswerToALaterOne) {
  StatisticsBook book;
  book.NoteAsked(1);
  const auto first = book.AskedSoFar();
  book.NoteAsked(1);
  const auto second = book.AskedSoFar();
  book.NoteAnswered(1, {});
  EXPECT_TRUE(book.AreAnswered(first));
  EXPECT_FALSE(book.AreAnswered(second));
  book.NoteAnswered(1, {});
  EXPECT_TRUE(book.AreAnswered(second));
}

TEST(StatisticsBookTest, NobodyWaitsForAWorkerThatIsGone) {
  StatisticsBook book;
  book.NoteAsked(1);
  const auto asked = book.AskedSoFar();
  book.Remove(1);
  EXPECT_TRUE(book.AreAnswered(asked));
  book.NoteAnswered(1, WithMemory(1, 1));
  BrokerStatistics sum;
  book.AddTo(&sum);
  EXPECT_EQ(sum.guests(), 0u);
}

TEST(StatisticsBookTest, AWorkerThatHasNotAnsweredIsNotShown) {
  StatisticsBook book;
  book.NoteAsked(1);
  BrokerStatistics sum;
  book.AddTo(&sum);
  EXPECT_EQ(sum.workers_size(), 0);
}

}  // namespace
}  // namespace nvshim::broker
