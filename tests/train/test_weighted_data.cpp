#include "lib/train/data/weighted_data.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca::train;

TEST_CASE("A word of --data is a folder, or a folder and a weight") {
  const auto is = [](const std::string& word, const std::string& folder, double weight) {
    const WeightedData data = parse_weighted_data(word);
    CAPTURE(word);
    CHECK(data.folder == folder);
    CHECK(data.weight == weight);
  };
  is("books", "books", 1);
  is("books:6", "books", 6);
  is("books:0.5", "books", 0.5);
  is("a:b:2", "a:b", 2);
  is("books:new", "books:new", 1);
  is("books:", "books:", 1);
  is("books:6x", "books:6x", 1);
  for (const char* word : {"books:0", "books:-1", "books:inf", "books:nan", "books:1e999"}) {
    CAPTURE(word);
    const auto error = error_of([&] { parse_weighted_data(word); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says("above 0"));
  }
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "books:6");
  is(folder / "books:6", folder / "books:6", 1);
}

TEST_CASE("One word is a text in JSON, several are a list, none is an empty text") {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{}, {"books"}, {"books:6", "code:3"}}) {
    const nlohmann::json json = data_to_json(words);
    CHECK(json.is_array() == (words.size() > 1));
    CHECK(data_from_json(json) == words);
  }
  CHECK(data_from_json("") == std::vector<std::string>());
  CHECK(data_flags(std::vector<std::string>{"a", "b:2"}) == "--data a --data b:2");
}
