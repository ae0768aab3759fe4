#include "serve/slots.h"

#include <gtest/gtest.h>

#include <thread>

#include "serve/tokens_test.h"

namespace kvsplice::serve {
namespace {

void fill(Slots& slots, int id, const std::string& tenant, std::vector<int32_t> held) {
  auto lease = slots.take(tenant, {}, id);
  SlotContent content;
  content.tenant = tenant;
  content.tokens = std::move(held);
  content.in_use = true;
  lease.put(content);
}

int chosen(Slots& slots, const std::string& tenant, const std::vector<int32_t>& wanted) {
  return slots.take(tenant, wanted, {}).id();
}

TEST(SlotsTest, AConversationGoesOnWhereItLies) {
  Slots slots(3);
  fill(slots, 0, "a", tokens(0, 100));
  fill(slots, 1, "a", tokens(1000, 100));
  EXPECT_EQ(chosen(slots, "a", tokens(1000, 200)), 1);
  EXPECT_EQ(chosen(slots, "a", tokens(0, 150)), 0);
}

TEST(SlotsTest, AnotherConversationTakesAnEmptySlotThenTheOldest) {
  Slots slots(2);
  fill(slots, 0, "a", tokens(0, 100));
  EXPECT_EQ(chosen(slots, "a", tokens(5000, 50)), 1);
  fill(slots, 1, "a", tokens(5000, 50));
  EXPECT_EQ(chosen(slots, "a", tokens(9000, 50)), 0) << "used longer ago";
}

TEST(SlotsTest, AGreetingInCommonDoesNotCostAConversation) {
  Slots slots(2);
  fill(slots, 0, "a", tokens(0, 1000));
  EXPECT_EQ(chosen(slots, "a", tokens(0, 20)), 1);
}

TEST(SlotsTest, WhatAnotherTenantHasIsNoReason) {
  Slots slots(2);
  fill(slots, 0, "a", tokens(0, 100));
  EXPECT_EQ(chosen(slots, "b", tokens(0, 100)), 1);
}

TEST(SlotsTest, ABusySlotIsWaitedFor) {
  Slots slots(1);
  auto first = std::make_unique<Slots::Lease>(slots.take("a", {}, {}));
  std::atomic<bool> second = false;
  std::thread waits([&] {
    const auto lease = slots.take("a", {}, {});
    second = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(second);
  first.reset();
  waits.join();
  EXPECT_TRUE(second);
}

TEST(SlotsTest, ASlotThatIsNamedIsTaken) {
  Slots slots(2);
  EXPECT_EQ(slots.take("a", {}, 1).id(), 1);
  EXPECT_EQ(slots.take("a", {}, 3).id(), 1) << "as llama-server counts";
}

TEST(SlotsTest, DirtyOnesAreGivenOutOnceTheyHaveRested) {
  Slots slots(2);
  EXPECT_FALSE(slots.take_dirty(Clock::now() + std::chrono::hours(1)));
  {
    auto lease = slots.take("a", {}, 1);
    SlotContent content;
    content.dirty = content.in_use = true;
    lease.put(content);
  }
  EXPECT_FALSE(slots.take_dirty(Clock::now() - std::chrono::hours(1)));
  const auto lease = slots.take_dirty(Clock::now() + std::chrono::hours(1));
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->id(), 1);
  EXPECT_FALSE(slots.take_dirty(Clock::now() + std::chrono::hours(1))) << "it is busy";
}

TEST(SlotsTest, AfterAnotherStartOldKnowledgeIsNotPutBack) {
  Slots slots(1);
  auto lease = slots.take("a", {}, {});
  slots.forget();
  SlotContent content;
  content.tokens = tokens(0, 10);
  lease.put(content);
  EXPECT_TRUE(lease.content().tokens.empty());
}

TEST(SlotsTest, WhatIsForgottenIsNotTakenForEmpty) {
  Slots slots(2);
  fill(slots, 0, "a", tokens(0, 100));
  slots.forget();
  for (const int id : {0, 1}) {
    const SlotContent content = slots.take("b", {}, id).content();
    EXPECT_FALSE(content.is_empty());
    EXPECT_TRUE(content.poisoned);
    EXPECT_TRUE(content.tokens.empty());
  }
}

TEST(SlotsTest, WhatIsDoubtedIsUsedNoMoreButSaved) {
  Slots slots(3);
  fill(slots, 0, "a", tokens(0, 100));
  fill(slots, 1, "a", tokens(1000, 100));
  {
    const auto busy = slots.take("a", {}, 1);
    slots.doubt();
  }
  const SlotContent doubted = slots.take("a", {}, 0).content();
  EXPECT_TRUE(doubted.poisoned);
  EXPECT_EQ(doubted.tenant, "a");
  EXPECT_EQ(doubted.tokens.size(), 100u);
  EXPECT_FALSE(slots.take("a", {}, 1).content().poisoned) << "its user knows";
  EXPECT_TRUE(slots.take("a", {}, 2).content().is_empty());
  EXPECT_EQ(chosen(slots, "a", tokens(0, 150)), 2);
}

}  // namespace
}  // namespace kvsplice::serve
