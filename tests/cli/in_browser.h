#pragma once
// A page in a real browser, without a window.

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/run_gca.h"

/// Runs `script` in the page once it is loaded; what it puts into `result` comes back, with the messages of
/// every error of the page as result.problems.
inline nlohmann::json in_browser(const TemporaryFolder& folder, std::string page, const std::string& script) {
  const std::string first =
      "<script>const problems = []; window.onerror = message => { problems.push(String(message)); "
      "};</script>";
  const std::string last =
      "<script>{ const result = {}; try { " + script +
      " } catch (error) { problems.push(String(error)); } result.problems = problems; "
      "document.body.replaceChildren(Object.assign(document.createElement('pre'), "
      "{textContent: 'RESULT' + btoa(unescape(encodeURIComponent(JSON.stringify(result)))) + "
      "'END'})); }</script>";
  page.insert(page.find("<meta"), first);
  page.insert(page.find("</html>"), last);
  gca::write_file_atomically(folder / "page.html", page);
  const ProcessResult dom = run_program(
      {"timeout", "100", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
       "--user-data-dir=" + (folder / "profile"), "--window-size=1400,1000", "--virtual-time-budget=2000",
       "--dump-dom", "file://" + (folder / "page.html")});
  const size_t begin = dom.out.find("RESULT");
  CAPTURE(dom.err);
  CAPTURE(dom.out.substr(0, 2000));
  REQUIRE(begin != std::string::npos);
  const std::string encoded = dom.out.substr(begin + 6, dom.out.find("END", begin) - begin - 6);
  const ProcessResult decoded = RunningProcess({"base64", "-d"}, encoded).wait();
  return nlohmann::json::parse(decoded.out);
}
