#include "lib/inspect/retrieval_table.h"

#include <doctest/doctest.h>

using namespace gca;

namespace {

const std::vector<std::string> kGroup = {"group 0"};

}  // namespace

TEST_CASE("the table shows each chunk beside what it read") {
  const std::vector<inspect::ChunkReading> readings = {
      {0, 0, 7, {{}}},
      {2, 14, 5, {{{0, 1.25, 0.75}, {1, -0.5, 0.25}}}},
  };
  const auto text_of = [](int64_t chunk) { return "text\nof " + std::to_string(chunk); };
  const std::string table = inspect::retrieval_table(readings, kGroup, text_of, {});
  CHECK(table ==
        "  read by   chunk      score  weight           text\n"
        "\n"
        "chunk 0  tokens 0-6\n"
        "  text\\nof 0\n"
        "  group 0  read nothing\n"
        "\n"
        "chunk 2  tokens 14-18\n"
        "  text\\nof 2\n"
        "  group 0       0     1.2500  0.7500 ██████    text\\nof 0\n"
        "  group 0       1    -0.5000  0.2500 ██        text\\nof 1\n"
        "\n");
  CHECK(table.find('\033') == std::string::npos);
  CHECK(inspect::retrieval_table(readings, kGroup, text_of, {.width = 100, .colour = true})
            .find("\033[1mchunk 0") != std::string::npos);
}

TEST_CASE("a chunk from before the text is told by its place in its document") {
  const std::vector<inspect::ChunkReading> readings = {{2, 14, 5, {{{-3, 1.25, 0.75}, {1, -0.5, 0.25}}}}};
  inspect::RetrievalTableOptions options;
  options.place_of = [](int64_t chunk) { return inspect::ChunkPlace{"shelf/a\nb.txt", chunk + 20}; };
  const std::string table = inspect::retrieval_table(
      readings, kGroup, [](int64_t chunk) { return "text of " + std::to_string(chunk); }, options);
  CHECK(table.find("group 0      17     1.2500  0.7500 ██████    a\\nb.txt: text of -3\n") !=
        std::string::npos);
  CHECK(table.find("group 0       1    -0.5000  0.2500 ██        text of 1\n") != std::string::npos);
}

TEST_CASE("where positions choose, the table says how many tokens did, beside the name of each head") {
  const std::vector<inspect::ChunkReading> readings = {{2, 14, 5, {{{0, 0, 0.25, 4, {}}}, {}}}};
  const std::vector<std::string> heads = {"layer 0, head 0", "layer 0, head 1"};
  const std::string table = inspect::retrieval_table(
      readings, heads, [](int64_t chunk) { return "text of " + std::to_string(chunk); }, {});
  CHECK(table ==
        "          read by   chunk     tokens  weight           text\n"
        "\n"
        "chunk 2  tokens 14-18\n"
        "  text of 2\n"
        "  layer 0, head 0       0     4 of 5  0.2500 ██        text of 0\n"
        "  layer 0, head 1  read nothing\n"
        "\n");
}
