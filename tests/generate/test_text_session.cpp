#include "lib/generate/text_session.h"

#include "tests/support/doctest.h"

#include <filesystem>

#include "lib/core/error.h"
#include "lib/data/sealed_json.h"
#include "lib/generate/generator.h"
#include "tests/support/error_of.h"
#include "tests/support/tiny_text_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

using Tokens = std::vector<int32_t>;

/// `count` new tokens after the session's text and `prompt`.
Tokens continued(const model::TextModel& model, generate::TextSession& session, const Tokens& prompt,
                 int64_t count, double temperature) {
  generate::GenerationOptions options;
  options.max_new_tokens = count;
  options.seed = 3;
  options.sampling.temperature = temperature;
  options.keeps_session = true;
  return generate::generate(
             model, prompt, options, session, [](const std::string&) {}, [] { return false; })
      .tokens;
}

Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

generate::TextSession saved_and_loaded(const model::TextModel& model, const generate::TextSession& session) {
  const TemporaryFolder folder;
  generate::save_session(folder / "text", "--save-memory", model, session);
  return generate::load_session(folder / "text", model);
}

}  // namespace

TEST_CASE(
    "saving, loading and going on equals never having stopped, at every position about a chunk border") {
  for (const char* long_range : {"gca", "none"}) {
    CAPTURE(long_range);
    const model::TextModel model = make_text_model(4, long_range);
    for (const size_t prompt_tokens : {1, 5, 6, 7, 8, 20, 21, 55, 56, 57}) {
      CAPTURE(prompt_tokens);
      const Tokens prompt = prompt_of(model, prompt_tokens);
      for (const int64_t first : {0, 1, 9}) {
        CAPTURE(first);
        generate::TextSession whole, part;
        const Tokens expected = continued(model, whole, prompt, first + 12, 1.0);
        const Tokens before = continued(model, part, prompt, first, 1.0);
        part = saved_and_loaded(model, part);
        CHECK(joined(before, continued(model, part, {}, 12, 1.0)) == expected);
        CHECK(part.past->position() == whole.past->position());
      }
    }
  }
}

TEST_CASE("a book that was read once is asked several times") {
  const model::TextModel model = make_text_model(5);
  const Tokens book = prompt_of(model, 150);
  generate::TextSession read;
  continued(model, read, book, 0, 0.0);
  const TemporaryFolder folder;
  generate::save_session(folder / "book", "--save-memory", model, read);
  for (const size_t question_tokens : {1, 6, 13}) {
    CAPTURE(question_tokens);
    const Tokens question = prompt_of(model, question_tokens);
    generate::TextSession loaded = generate::load_session(folder / "book", model);
    generate::TextSession plain;
    continued(model, plain, book, 0, 0.0);
    CHECK(continued(model, loaded, question, 15, 0.0) == continued(model, plain, question, 15, 0.0));
  }
  // The same folder may be written again, and only such a folder.
  generate::save_session(folder / "book", "--save-memory", model, read);
  write_file_atomically(folder / "book/mine.txt", "x");
  CHECK(error_of([&] {
          generate::save_session(folder / "book", "--save-memory", model, read);
        })->says("mine.txt"));
  CHECK(
      error_of([&] { generate::check_session_folder(folder / "", "--save-memory"); })->says("--save-memory"));
}

TEST_CASE("a session of another model, or a damaged one, is refused") {
  const model::TextModel model = make_text_model(6);
  generate::TextSession session;
  continued(model, session, prompt_of(model, 40), 3, 0.0);
  const TemporaryFolder folder;
  const std::string path = folder / "text";
  generate::save_session(path, "--save-memory", model, session);
  CHECK(error_of([&] { generate::load_session(path, make_text_model(7)); })->says("another model"));
  CHECK(error_of([&] { generate::load_session(folder / "nothing", model); })->is_usage());

  for (const char* name : {"/index.json", "/session.safetensors"}) {
    const std::string whole = read_file(path + name);
    for (size_t part = 0; part < 40; ++part) {  // every region of the file
      std::string damaged = whole;
      const size_t place = part * (whole.size() - 1) / 39;
      CAPTURE(name);
      CAPTURE(place);
      damaged[place] = static_cast<char>(damaged[place] ^ 0x10);
      write_file_atomically(path + name, damaged);
      const auto error = error_of([&] { generate::load_session(path, model); });
      // The padding of a header may change; whatever loads is what was saved.
      if (!error) {
        const generate::TextSession loaded = generate::load_session(path, model);
        CHECK(name == std::string("/session.safetensors"));
        CHECK(loaded.past->position() == session.past->position());
        continue;
      }
      CHECK(error->is_usage());
    }
    for (const size_t length : {size_t{0}, whole.size() / 2, whole.size() - 2}) {
      write_file_atomically(path + name, whole.substr(0, length));
      const auto error = error_of([&] { generate::load_session(path, model); });
      REQUIRE(error);
      CHECK(error->is_usage());
    }
    write_file_atomically(path + name, whole);
  }
  CHECK(generate::load_session(path, model).past->position() == session.past->position());
}

TEST_CASE("a session whose index has keys that this version does not know loads") {
  const model::TextModel model = make_text_model(8);
  generate::TextSession session;
  continued(model, session, prompt_of(model, 40), 3, 0.0);
  const TemporaryFolder folder;
  const std::string path = folder / "text";
  generate::save_session(path, "--save-memory", model, session);
  nlohmann::json index = nlohmann::json::parse(read_file(path + "/index.json"));
  index.erase("seal");
  index["windows"] = 4;  // as earlier versions wrote
  index["groups"] = 1;
  data::write_sealed_json(path + "/index.json", index);
  generate::TextSession loaded = generate::load_session(path, model);
  CHECK(continued(model, loaded, {}, 9, 0.0) == continued(model, session, {}, 9, 0.0));
}
