// The table of settings, and the layers over each other.

#include "config/settings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tamis/error.h"

namespace tamis::server {
namespace {

Environment nothing() {
  return [](const std::string&) { return std::optional<std::string>(); };
}

TEST(Settings, ThePageOfDocsShowsTheTable) {
  std::ifstream file(TAMIS_SOURCE_DIR "/docs/serving.md");
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_NE(page.str().find(settings_table()), std::string::npos)
      << "docs/serving.md must have this table:\n"
      << settings_table();
}

TEST(Settings, EveryRowTakesItsOwnDefault) {
  for (const Setting& setting : all_settings()) {
    const bool value = !setting.fallback.empty() &&
                       setting.fallback.find_first_of(" $") == std::string_view::npos &&
                       setting.fallback != "none";
    if (!value) continue;
    Settings settings;
    EXPECT_NO_THROW(setting.set(settings, setting.fallback)) << setting.name;
  }
}

TEST(Settings, NamesAreDistinctAndPlain) {
  std::vector<std::string> keys;
  for (const Setting& setting : all_settings()) {
    for (char c : setting.name) EXPECT_TRUE((c >= 'a' && c <= 'z') || c == '-') << setting.name;
    keys.push_back(key_name(setting));
  }
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end());
}

TEST(Settings, AListOfTheEnvironmentHasCommasBetween) {
  const Settings settings = read_settings({}, [](const std::string& name) {
    return name == "TAMIS_SERVE_API_KEY" ? std::optional<std::string>("first-key,second-key")
                                         : std::nullopt;
  });
  EXPECT_EQ(settings.api_keys, (std::vector<std::string>{"first-key", "second-key"}));
}

TEST(Settings, AFlagReplacesTheListOfTheEnvironment) {
  const Settings settings =
      read_settings({{"model", "a=/x"}, {"model", "/y"}}, [](const std::string& name) {
        return name == "TAMIS_SERVE_MODEL" ? std::optional<std::string>("/z") : std::nullopt;
      });
  ASSERT_EQ(settings.models.size(), 2u);
  EXPECT_EQ(settings.models[0].id, "a");
  EXPECT_EQ(settings.models[0].directory, "/x");
  EXPECT_EQ(settings.models[1].directory, "/y");
}

TEST(Settings, ADirectoryMayHaveAnEqualsSign) {
  EXPECT_EQ(read_settings({{"model", "/x/a=b"}}, nothing()).models[0].directory, "/x/a=b");
}

TEST(Settings, HalfOfTlsIsRefused) {
  EXPECT_THROW(read_settings({{"tls-key", "/x"}}, nothing()), Error);
}

}  // namespace
}  // namespace tamis::server
