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
  EXPECT_TRUE(lease.is_stale());
  SlotContent content;
  content.tokens = tokens(0, 10);
  lease.put(content);
  EXPECT_TRUE(lease.content().tokens.empty());
}

}  // namespace
}  // namespace kvsplice::serve
