// The page of inspect-retrieval --html in a real browser, without a window.

#include <doctest/doctest.h>

#include "tests/cli/in_browser.h"
#include "tests/cli/nano_run.h"

namespace {

/// A click at the middle of cell (column, row) of the matrix.
std::string click_cell(size_t column, size_t row, size_t chunks) {
  return "{ const box = element('matrix').getBoundingClientRect(); element('matrix').dispatchEvent(new "
         "MouseEvent('click', {clientX: box.left + box.width * (" +
         std::to_string(column) + " + 0.5) / " + std::to_string(chunks) +
         ", clientY: box.top + box.height * (" + std::to_string(row) + " + 0.5) / " + std::to_string(chunks) +
         "})); } ";
}

const std::string kShown =
    "({reader: element('reader').textContent, retrieved: [...document.querySelectorAll('.retrieved')].map(p "
    "=> "
    "[Number(p.dataset.chunk), p.textContent, p.classList.contains('chosen')]), tokens: "
    "document.querySelectorAll('#changed tr').length - 1, hash: location.hash})";

}  // namespace

TEST_CASE("inspect-retrieval: the page shows the passage that was clicked beside what it read") {
  const NanoRun run({"num_upper_layers=2", "retrieval_groups=2"});
  const TemporaryFolder folder;
  // Text that would break out of a script element, if it could.
  gca::write_file_atomically(folder / "prompt.txt", "</script><b>bold</b><!-- " + NanoRun::pages(3, 12));
  const ProcessResult made =
      run_gca({"inspect-retrieval", "--checkpoint", run.checkpoint(), "--prompt-file", folder / "prompt.txt",
               "--html", folder / "made.html", "--report", folder / "report.json"});
  CAPTURE(made.err);
  REQUIRE(made.status == 0);
  CHECK(made.out == (folder / "made.html") + "\n");
  const auto chunks = nlohmann::json::parse(gca::read_file(folder / "report.json"))["result"]["chunks"];
  REQUIRE(chunks.size() >= 8);
  const auto& clicked = chunks[6];
  const auto& group_0 = clicked["groups"][0]["retrieved"];
  const auto chosen = group_0[1]["chunk"].get<size_t>();

  const std::string page = gca::read_file(folder / "made.html");
  CHECK(page.find("http") == std::string::npos);  // self-contained
  const nlohmann::json result = in_browser(
      folder, page,
      click_cell(chosen, 6, chunks.size()) + "result.clicked = " + kShown + "; " +
          "const press = key => document.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true})); "
          "press('ArrowRight'); press('g'); result.pressed = " +
          kShown + "; press('Home'); result.home = " + kShown);

  CHECK(result["problems"] == nlohmann::json::array());
  CHECK(result["clicked"]["reader"] == clicked["text"]);
  REQUIRE(result["clicked"]["retrieved"].size() == group_0.size());
  for (size_t i = 0; i < group_0.size(); ++i) {
    const auto& shown = result["clicked"]["retrieved"][i];
    CHECK(shown[0] == group_0[i]["chunk"]);
    CHECK(shown[1] == group_0[i]["text"]);
    CHECK(shown[2] == (group_0[i]["chunk"] == chosen));
  }
  CHECK(result["clicked"]["tokens"] == 10);
  CHECK(result["clicked"]["hash"] == "#chunk=6&group=0");
  CHECK(result["pressed"]["reader"] == chunks[7]["text"]);
  CHECK(result["pressed"]["hash"] == "#chunk=7&group=1");
  CHECK(result["pressed"]["retrieved"][0][1] == chunks[7]["groups"][1]["retrieved"][0]["text"]);
  CHECK(result["home"]["reader"] == chunks[0]["text"]);
  CHECK(result["home"]["retrieved"] == nlohmann::json::array());
}

TEST_CASE("inspect-retrieval: --ascii draws the causal half, one row per chunk") {
  const NanoRun run;
  const std::vector<std::string> words = {"inspect-retrieval", "--checkpoint", run.checkpoint(), "--prompt",
                                          NanoRun::pages(3, 6)};
  const auto chunks = [&] {
    std::vector<std::string> with_json = words;
    with_json.emplace_back("--json");
    return run_gca(with_json).json()["result"]["chunks"];
  }();
  std::vector<std::string> with_map = words;
  with_map.emplace_back("--ascii");
  const std::string map = run_gca(with_map).out;
  REQUIRE(chunks.size() < 90);  // a cell a chunk
  size_t line_begin = map.find('\n') + 1;
  for (const auto& chunk : chunks) {
    const std::string line = map.substr(line_begin, map.find('\n', line_begin) - line_begin);
    line_begin += line.size() + 1;
    const auto row = chunk["chunk"].get<size_t>();
    CAPTURE(row);
    REQUIRE(line.size() >= 9);
    CHECK(std::stoul(line.substr(0, 7)) == row);
    std::string expected(row + 1, ' ');
    for (const auto& read : chunk["groups"][0]["retrieved"]) expected[read["chunk"].get<size_t>()] = '#';
    for (size_t column = 0; column <= row; ++column) {
      const bool drawn = 9 + column < line.size() && line[9 + column] != ' ';
      CHECK(drawn == (expected[column] == '#'));
    }
  }
  CHECK(line_begin == map.size());
}
