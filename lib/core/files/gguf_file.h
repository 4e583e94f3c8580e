#pragma once
// The GGUF format of llama.cpp, versions 2 and 3: metadata of typed values, a table of tensors, and their
// data in rows of plain or quantised values. No tensors library here.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace gca {

/// A metadata value. Whole numbers of all widths are int64_t but for those that only uint64_t holds.
struct GgufValue {
  using List = std::vector<GgufValue>;
  std::variant<bool, int64_t, uint64_t, double, std::string, List> value;
};

/// How the values of a tensor are stored. The quantised types are blocks of 32 values along a row, with a
/// scale d and an offset m in float16: Q8_0 d q, Q4_0 d (q - 8), Q4_1 d q + m; nibbles: low ones first, then
/// high ones.
enum class GgufType : uint32_t { f32 = 0, f16 = 1, q4_0 = 2, q4_1 = 3, q8_0 = 8, bf16 = 30 };

struct GgufTensor {
  GgufType type = GgufType::f32;
  std::vector<int64_t>
      shape;  ///< slowest dimension first: (out, in) of a matrix. (The file has them reversed.)
  const std::byte* data = nullptr;
  size_t size_bytes = 0;

  int64_t row_length() const { return shape.back(); }
  int64_t row_count() const;
};

/// A mapped file; tensors point into it while it lives. Everything is checked against the size of the file on
/// opening: a damaged or truncated file, and a type of tensor that is not in GgufType, are Error(usage)
/// naming the part.
class GgufFile {
 public:
  explicit GgufFile(const std::string& path);
  ~GgufFile();
  const std::string& path() const { return path_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }
  /// Error(usage) naming the tensor when it is not there.
  const GgufTensor& at(const std::string& name) const;

  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  bool has(const std::string& key) const { return metadata_.contains(key); }
  /// The value of a key, as the type that is asked for; Error(usage) naming the key where it is missing or of
  /// another type.
  bool flag(const std::string& key) const;
  int64_t whole_number(const std::string& key) const;
  double number(const std::string& key) const;  ///< of any numeric type
  const std::string& text(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;
  std::vector<int64_t> whole_numbers(const std::string& key) const;

 private:
  const GgufValue& value(const std::string& key) const;
  const GgufValue::List& list(const std::string& key) const;

  std::string path_;
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;
  std::map<std::string, GgufTensor> tensors_;
  std::map<std::string, GgufValue> metadata_;
};

/// Decodes rows [first, first + out.size() / row_length) into `out`, row-major; out.size() is a multiple of
/// the row's length.
void decode_gguf_rows(const GgufTensor& tensor, int64_t first, std::span<float> out);

}  // namespace gca
