#include "lib/text/sources/no_text.h"

#include <doctest/doctest.h>

#include "tests/support/error_of.h"
#include "tests/support/read_documents.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

using namespace gca;
using namespace std::string_literals;

namespace {

std::optional<CaughtError> refusal(const std::string& path, const text::SourceOptions& options = {}) {
  return error_of([&] { read_documents({path}, options); });
}

/// Python, ar, cc and other programs make one file of each kind, named after what the error is to call it.
constexpr const char* kMakeFiles = R"(
import lzma, bz2, pickle, sqlite3, struct, subprocess, sys, tarfile, zipfile, zlib
folder = sys.argv[1] + '/'
text = b'On day 1 the keeper of lamp 433 walked to the harbour.\n' * 40
def put(name, content): open(folder + name, 'wb').write(content)
put('xz', lzma.compress(text))
put('bzip2', bz2.compress(text))
put('a Python pickle', pickle.dumps([text]))
put('book.txt', text)
with zipfile.ZipFile(folder + 'a zip archive', 'w') as f: f.write(folder + 'book.txt')
with tarfile.open(folder + 'a tar archive', 'w') as f: f.add(folder + 'book.txt')
connection = sqlite3.connect(folder + 'an SQLite database')
connection.execute('create table t (x)'); connection.commit(); connection.close()
chunk = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
put('a PNG image', b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0)) +
    chunk(b'IDAT', zlib.compress(b'\0\0')) + chunk(b'IEND', b''))
put('PDF', b'%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<</Type/Catalog>>\nendobj\n')
import numpy
numpy.save(folder + 'array', numpy.zeros(3)); subprocess.run(['mv', folder + 'array.npy', folder + 'a NumPy array'])
put('an ELF program or library', open('/proc/self/exe', 'rb').read(4096))
header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
put('safetensors', struct.pack('<Q', len(header)) + header + b'\0\0\0\0')
put('Parquet', b'PAR1\x15\x04\x15\x08' + b'PAR1')
put('an MP4 film', b'\0\0\0\x18ftypisom\0\0\2\0isomiso2')
put('a JPEG image', b'\xff\xd8\xff\xe0\0\x10JFIF\0\1')
put('GGUF', b'GGUF\3\0\0\0' + bytes(16))
)";

}  // namespace

TEST_CASE("files of known formats are refused by their names, whatever theirs is") {
  const TemporaryFolder folder;
  run_python(kMakeFiles, folder.path());
  for (const std::string kind :
       {"xz", "bzip2", "a Python pickle", "a zip archive", "a tar archive", "an SQLite database",
        "a PNG image", "PDF", "a NumPy array", "an ELF program or library", "safetensors", "Parquet",
        "an MP4 film", "a JPEG image", "GGUF"}) {
    CAPTURE(kind);
    REQUIRE(std::filesystem::exists(folder / kind));
    // Also where the text was said to be kept as it is.
    for (const auto policy :
         {text::InvalidUtf8::error, text::InvalidUtf8::replace, text::InvalidUtf8::keep}) {
      const auto error = refusal(folder / kind, {.format = "text", .invalid_utf8 = policy});
      REQUIRE(error);
      CHECK(error->is_usage());
      CHECK(error->says((folder / kind) + ": is " + kind + ", which gca does not read"));
    }
  }
  // And compressed once more.
  run_shell("cd " + folder.path() + " && gzip -c PDF > wrapped.txt.gz");
  const auto wrapped = refusal(folder / "wrapped.txt.gz");
  REQUIRE(wrapped);
  CHECK(wrapped->says("is PDF"));
}

TEST_CASE("binary data of no known format is refused, text of every kind is not") {
  const TemporaryFolder folder;
  std::string ids, floats;
  for (int i = 0; i < 400; ++i) {
    ids += static_cast<char>(i % 200);  // token ids below 256: valid UTF-8 with a NUL after each
    ids += '\0';
    floats += static_cast<char>(i * 37);
    floats += static_cast<char>(i * 101 + 7);
  }
  for (const std::string& content : {ids.substr(0, 2 * 128), floats, "\1\2\3\xFF\xFE\xFD"s}) {
    testing::write_file(folder / "data", content);
    const auto error = refusal(folder / "data");
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says("data: is binary data and no text"));
    CHECK(read_documents({folder / "data"}, {.format = "text", .invalid_utf8 = text::InvalidUtf8::keep})
              .texts() == std::vector{content});
  }
  for (const std::string& content :
       {"one NUL \0 in a line of text"s, "\0"s, "\x1B[31mred\x1B[0m \x1B[1mlog\x1B[0m"s, "a\bb\f\v\r\n"s,
        "PARENTS and ORCs, PKs, MZ and GGUF are words"s, "ID3 and BM"s, ""s,
        std::string(511, 'x') + "\xC3\xA9 a character across the end of the head"}) {
    testing::write_file(folder / "data", content);
    CHECK(read_documents({folder / "data"}, {.format = "text"}).texts() == std::vector{content});
  }
}
