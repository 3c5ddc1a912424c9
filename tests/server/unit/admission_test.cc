// Who is let in, with a clock of our own where time matters.

#include "service/admission.h"

#include <gtest/gtest.h>

#include "service/keys.h"

namespace tamis::server {
namespace {

TEST(WorkAdmission, LetsInUntilTheLimitAndAgainWhenWorkIsDone) {
  WorkAdmission admission({100, 800, 1000});
  WorkAdmission::Refusal refusal;
  std::vector<std::shared_ptr<void>> places;
  // 400 bytes are 100 tokens, an eighth of the limit.
  for (int i = 0; i < 8; ++i) {
    places.push_back(admission.enter(400, refusal));
    EXPECT_TRUE(places.back());
  }
  EXPECT_FALSE(admission.enter(400, refusal));
  EXPECT_EQ(refusal.waiting_tokens, 800u);
  EXPECT_GE(refusal.retry_after_s, 1);
  places.pop_back();
  EXPECT_TRUE(admission.enter(400, refusal));
  places.clear();
  EXPECT_EQ(admission.waiting_tokens(), 0u);
}

TEST(WorkAdmission, NoRequestIsTooLargeAndALargeOneDoesNotShutTheDoor) {
  WorkAdmission admission({100, 800, 1000});
  WorkAdmission::Refusal refusal;
  const auto large = admission.enter(size_t{1} << 30, refusal);
  ASSERT_TRUE(large);
  EXPECT_EQ(admission.waiting_tokens(), 100u);
  EXPECT_TRUE(admission.enter(400, refusal));
}

TEST(WorkAdmission, CountsRequestsToo) {
  WorkAdmission admission({2, 1 << 20, 1000});
  WorkAdmission::Refusal refusal;
  const auto a = admission.enter(1, refusal), b = admission.enter(1, refusal);
  EXPECT_FALSE(admission.enter(1, refusal));
  EXPECT_TRUE(refusal.too_many_requests);
}

TEST(WorkAdmission, TheLimitFollowsTheSpeed) {
  WorkAdmission admission({100, 0, 10'000});
  const size_t before = admission.most_tokens();
  admission.set_speed(100'000);
  EXPECT_EQ(admission.most_tokens(), 1'000'000u);
  EXPECT_LT(before, 1'000'000u);
  admission.set_speed(700);
  EXPECT_EQ(admission.most_tokens(), 7'000u) << "also where it is less than before a measurement";
  admission.set_speed(1);
  EXPECT_EQ(admission.most_tokens(), 2'048u) << "a few short requests, however slow";
}

TEST(WorkAdmission, LearnsHowManyTokensAByteIs) {
  WorkAdmission admission({100, 100'000, 1000});
  WorkAdmission::Refusal refusal;
  for (int i = 0; i < 200; ++i) admission.learn(1000, 1000);
  const auto place = admission.enter(1000, refusal);
  EXPECT_NEAR(static_cast<double>(admission.waiting_tokens()), 1000, 20);
}

TEST(AddressRates, LetASecondsWorthInAndThenTheRate) {
  AddressRates rates;
  rates.set(4);
  auto now = AddressRates::Clock::time_point() + std::chrono::hours(1);
  int in = 0;
  for (int i = 0; i < 10; ++i) in += !rates.refuse("a", now);
  EXPECT_EQ(in, 4);
  EXPECT_FALSE(rates.refuse("b", now)) << "another address is not to blame";
  const auto wait = rates.refuse("a", now);
  ASSERT_TRUE(wait);
  EXPECT_NEAR(*wait, 0.25, 1e-6);
  now += std::chrono::milliseconds(260);
  EXPECT_FALSE(rates.refuse("a", now));
  EXPECT_TRUE(rates.refuse("a", now));
}

TEST(AddressRates, AClockThatJumpsBackLocksNobodyOut) {
  AddressRates rates;
  rates.set(1);
  const auto now = AddressRates::Clock::time_point() + std::chrono::hours(1);
  EXPECT_FALSE(rates.refuse("a", now));
  rates.refuse("a", now - std::chrono::minutes(30));
  EXPECT_FALSE(rates.refuse("a", now + std::chrono::seconds(1801)));
}

TEST(AddressRates, RememberNoMoreAddressesThanNeeded) {
  AddressRates rates;
  rates.set(1000);
  auto now = AddressRates::Clock::time_point() + std::chrono::hours(1);
  for (int i = 0; i < 50'000; ++i) {
    now += std::chrono::milliseconds(1);
    EXPECT_FALSE(rates.refuse(std::to_string(i), now));
  }
}

TEST(Keys, CompareWhole) {
  EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
  for (const char* other : {"", "a", "ab", "abd", "abca", "abcabc"}) {
    EXPECT_FALSE(equal_in_constant_time(other, "abc")) << other;
  }
  EXPECT_FALSE(equal_in_constant_time("abc", ""));
  EXPECT_TRUE(equal_in_constant_time("", ""));
}

TEST(Keys, AreFoundWhereClientsPutThem) {
  const auto key = [](const char* name, const char* value) {
    Headers headers;
    headers.add(name, value);
    return std::string(key_of(headers));
  };
  EXPECT_EQ(key("Authorization", "Bearer secret-1"), "secret-1");
  EXPECT_EQ(key("authorization", "bearer   secret-1"), "secret-1");
  EXPECT_EQ(key("Authorization", "secret-1"), "secret-1");
  EXPECT_EQ(key("X-API-Key", "secret-1"), "secret-1");
  EXPECT_EQ(key("api-key", "secret-1"), "secret-1");
  EXPECT_EQ(key("other", "secret-1"), "");
  EXPECT_EQ(key("Authorization", "Bearer "), "Bearer ");
}

}  // namespace
}  // namespace tamis::server
