// Archives and pickles built by hand: what torch never writes, and an attacker might.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "io/checkpoint.h"
#include "io/unpickle.h"
#include "io/zip.h"
#include "io_test_util.h"

namespace tamis::io {
namespace {

template <class T>
std::string le(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// What a member of the archive says about itself; a test makes it lie.
struct Member {
  std::string name;
  std::string data;
  uint16_t flags = 0;
  uint16_t method = 0;
  uint32_t stored_size = static_cast<uint32_t>(data.size());
  uint32_t size = static_cast<uint32_t>(data.size());
  std::string extra = {};               // of the directory's entry
  std::optional<uint32_t> offset = {};  // of the local header
};

std::string zip_of(const std::vector<Member>& members, const std::string& before_end = "",
                   const std::function<void(std::string&)>& change_end = {}) {
  std::string out;
  std::string directory;
  for (const Member& m : members) {
    const auto offset = m.offset.value_or(static_cast<uint32_t>(out.size()));
    const auto name_size = static_cast<uint16_t>(m.name.size());
    out += "PK\3\4" + std::string(22, '\0') + le(name_size) + le(uint16_t{0}) + m.name + m.data;
    directory += "PK\1\2" + le(uint16_t{0}) + le(uint16_t{0}) + le(m.flags) + le(m.method) +
                 std::string(8, '\0') + le(m.stored_size) + le(m.size) + le(name_size) +
                 le(static_cast<uint16_t>(m.extra.size())) + std::string(10, '\0') + le(offset) +
                 m.name + m.extra;
  }
  const auto count = static_cast<uint16_t>(members.size());
  std::string end = std::string("PK\5\6") + std::string(4, '\0') + le(count) + le(count) +
                    le(static_cast<uint32_t>(directory.size())) +
                    le(static_cast<uint32_t>(out.size())) + le(uint16_t{0});
  if (change_end) change_end(end);
  return out + directory + before_end + end;
}

std::vector<ZipEntry> read(const std::string& archive) { return read_zip(bytes_of(archive), "z"); }

TEST(Zip, ReadsStoredEntries) {
  const std::string archive = zip_of({{"b", "hello"}, {"a", ""}});
  const auto entries = read(archive);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_TRUE(entries[0].data.empty());
  EXPECT_EQ(entries[1].data.size(), 5u);
  EXPECT_EQ(entries[1].data[4], std::byte{'o'});
  EXPECT_TRUE(read(zip_of({})).empty());
}

TEST(Zip, TruncatedAtEveryByte) {
  const std::string archive = zip_of({{"b", "hello"}, {"a", ""}});
  for (size_t size = 0; size < archive.size(); ++size) {
    EXPECT_ERROR(read(archive.substr(0, size)), kDataLoss, "z: byte ");
  }
  EXPECT_ERROR(read(archive.substr(0, 60)), kDataLoss, "byte 60: truncated",
               "expected a zip directory at the end of the file, got none");
}

TEST(Zip, CompressedOrEncryptedEntriesAreRefused) {
  EXPECT_ERROR(read(zip_of({{.name = "a/data.pkl", .data = "xx", .method = 8}})), kDataLoss,
               "a/data.pkl: expected a stored entry (method 0), got compressed (method 8)");
  EXPECT_ERROR(read(zip_of({{.name = "a", .data = "xx", .flags = 1}})), kDataLoss,
               "a: expected plain data, got encrypted");
  EXPECT_ERROR(read(zip_of({{.name = "a", .data = "xx", .size = 1000}})), kDataLoss,
               "expected as many bytes stored as in use, got 2 and 1000");
}

TEST(Zip, EntriesOutsideTheFileAreRefused) {
  EXPECT_ERROR(read(zip_of({{.name = "a", .data = "xx", .stored_size = 1000, .size = 1000}})),
               kDataLoss, "a: truncated: expected 1000 bytes from byte 31 on, got");
  EXPECT_ERROR(read(zip_of({{.name = "a", .data = "xx", .offset = 5000}})), kDataLoss,
               "byte 5000: a: expected its local header, got the end of the file");
  EXPECT_ERROR(read(zip_of({{.name = "a", .data = "xx", .offset = 1}})), kDataLoss,
               "byte 1: a: expected its local header, got other bytes");
  // Into the directory, but within the file.
  EXPECT_ERROR(read(zip_of({{.name = "a", .data = "xx", .stored_size = 10, .size = 10}})),
               kDataLoss, "byte 0: a: expected to end before byte 33, got 41: entries overlap");
}

TEST(Zip, OverlapsAndDuplicatesAreRefused) {
  EXPECT_ERROR(read(zip_of({{"a", "xx"}, {.name = "b", .data = "xx", .offset = 0}})), kDataLoss,
               "entries overlap");
  EXPECT_ERROR(read(zip_of({{"a", "xx"}, {"a", "yy"}})), kDataLoss, "z: entry a: expected once");
}

TEST(Zip, ALyingEndRecordIsRefused) {
  const auto with = [](size_t at, const std::string& bytes) {
    return zip_of({{"a", "xx"}}, "",
                  [&](std::string& end) { end.replace(at, bytes.size(), bytes); });
  };
  EXPECT_ERROR(read(with(16, le(uint32_t{0xfffffff0}))), kDataLoss,
               "expected the zip directory before byte 80, got 47 bytes at 4294967280");
  EXPECT_ERROR(read(with(12, le(uint32_t{1000}))), kDataLoss, "got 1000 bytes at 33");
  EXPECT_ERROR(read(with(10, le(uint16_t{2}))), kDataLoss,
               "expected an entry of the zip directory");
  EXPECT_ERROR(read(with(10, le(uint16_t{0}))), kDataLoss,
               "expected the directory to end, got 47 bytes after 0 entries");
  EXPECT_ERROR(read(with(10, le(uint16_t{0xffff}))), kDataLoss,
               "expected an entry of the zip directory");
}

std::string zip64(uint64_t size, uint64_t entries, uint64_t claimed_offset) {
  Member member{.name = "a", .data = "xx", .stored_size = 0xffffffff, .size = 0xffffffff};
  member.extra = le(uint16_t{7}) + le(uint16_t{1}) + "?" + le(uint16_t{1}) + le(uint16_t{16}) +
                 le(size) + le(size);
  const uint64_t directory_bytes = 46 + 1 + member.extra.size();
  const std::string end64 = "PK\6\6" + le(uint64_t{44}) + std::string(12, '\0') + le(entries) +
                            le(entries) + le(directory_bytes) + le(uint64_t{33});
  const std::string locator =
      std::string("PK\6\7") + std::string(4, '\0') + le(claimed_offset) + le(uint32_t{1});
  return zip_of({member}, end64 + locator,
                [](std::string& end) { end.replace(8, 12, std::string(12, '\xff')); });
}

TEST(Zip, Zip64) {
  const uint64_t end64_at = 33 + 46 + 1 + 25;
  const std::string good = zip64(2, 1, end64_at);
  const auto entries = read(good);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].data.size(), 2u);
  EXPECT_ERROR(read(zip64(uint64_t{1} << 40, 1, end64_at)), kDataLoss, "truncated",
               "expected 1099511627776 bytes from byte 31");
  EXPECT_ERROR(read(zip64(~uint64_t{0}, 1, end64_at)), kDataLoss, "truncated");
  EXPECT_ERROR(read(zip64(2, uint64_t{1} << 60, end64_at)), kDataLoss,
               "entry of the zip directory");
  EXPECT_ERROR(read(zip64(2, 1, ~uint64_t{0})), kDataLoss, "expected a zip64 end record");
  EXPECT_ERROR(read(zip64(2, 1, 3)), kDataLoss, "expected a zip64 end record, got none at byte 3");
}

// Pickles, in the opcodes of pickletools.
const std::string kProto2 = "\x80\x02";

std::string text(std::string_view s) {
  return "X" + le(static_cast<uint32_t>(s.size())) + std::string(s);
}
std::string integer(int32_t value) { return "J" + le(value); }
std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
std::string tuple(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (const int64_t value : values) out += "\x8a\x08" + le(value);
  return out + "t";
}
std::string storage(std::string_view key, int32_t elements,
                    const std::string& type = "FloatStorage") {
  return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") +
         integer(elements) + "tQ";
}
std::string tensor(const std::string& storage_ops, int64_t offset,
                   const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage_ops + "\x8a\x08" +
         le(offset) + tuple(shape) + tuple(strides) + "\x89" +
         global("collections", "OrderedDict") + ")RtR";
}
// A dict of one item.
std::string dict(const std::string& key_ops, const std::string& value_ops) {
  return "}" + key_ops + value_ops + "s";
}
std::string pickle(const std::string& ops) { return kProto2 + ops + "."; }

std::vector<PickledTensor> unpickle(const std::string& text) {
  return unpickle_tensors(bytes_of(text), "data.pkl");
}
std::vector<TensorView> parse(const std::string& ops, size_t storage_bytes) {
  const std::string file =
      zip_of({{"m/data.pkl", pickle(ops)}, {"m/data/0", std::string(storage_bytes, '\1')}});
  auto views = parse_torch_zip(bytes_of(file), "m.bin");
  for (const TensorView& view : views) EXPECT_LE(view.bytes.size(), storage_bytes);
  for (TensorView& view : views) view.bytes = {};  // the file goes away
  return views;
}

TEST(Unpickle, ATensorInADict) {
  const std::string whole = pickle(dict(text("w"), tensor(storage("0", 6), 0, {2, 3}, {3, 1})));
  const auto tensors = unpickle(whole);
  ASSERT_EQ(tensors.size(), 1u);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].storage, "0");
  EXPECT_EQ(tensors[0].storage_elements, 6);
  EXPECT_EQ(tensors[0].shape, (Shape{2, 3}));
  EXPECT_EQ(tensors[0].strides, (std::vector<int64_t>{3, 1}));
}

TEST(Unpickle, TruncatedAtEveryByte) {
  const std::string whole = pickle(dict(text("w"), tensor(storage("0", 6), 0, {2, 3}, {3, 1})));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_ERROR(unpickle(whole.substr(0, size)), kDataLoss, "data.pkl: byte ", "truncated");
  }
}

TEST(Unpickle, NoCodeIsEverNamed) {
  const auto call = [](const std::string& module, const std::string& name) {
    return pickle(global(module, name) + text("true") + "\x85R");
  };
  EXPECT_ERROR(unpickle(call("os", "system")), kDataLoss,
               "data.pkl: byte 2: global os.system is not allowed");
  EXPECT_ERROR(unpickle(call("builtins", "eval")), kDataLoss,
               "global builtins.eval is not allowed");
  EXPECT_ERROR(unpickle(call("torch", "load")), kDataLoss, "global torch.load is not allowed");
  EXPECT_ERROR(unpickle(call("collections", "OrderedDict.fromkeys")), kDataLoss, "not allowed");
  EXPECT_ERROR(unpickle(call("", "")), kDataLoss, "not allowed");
  EXPECT_ERROR(unpickle(pickle(text("os") + text("system") + "\x93")), kDataLoss,
               "global os.system is not allowed");
  EXPECT_ERROR(unpickle(pickle(integer(1) + text("system") + "\x93")), kDataLoss,
               "STACK_GLOBAL: expected two strings, got an integer and a string");
  EXPECT_ERROR(unpickle(call("a\x1b[31m", "b")), kDataLoss, "global a?[31m.b");
}

TEST(Unpickle, OtherOpcodesAreRefusedByName) {
  EXPECT_ERROR(unpickle(pickle("(ios\nsystem\n")), kDataLoss,
               "byte 3: opcode 0x69 (INST) is not allowed");
  EXPECT_ERROR(unpickle(pickle("}\x81")), kDataLoss, "opcode 0x81 (NEWOBJ)");
  EXPECT_ERROR(unpickle(pickle("\x82\x01")), kDataLoss, "opcode 0x82 (EXT1)");
  EXPECT_ERROR(unpickle(pickle("(o")), kDataLoss, "(OBJ)");
  EXPECT_ERROR(unpickle(pickle("\xff")), kDataLoss, "opcode 0xff (unknown)");
}

TEST(Unpickle, CallsOnlyWhatItKnows) {
  EXPECT_ERROR(unpickle(pickle("})R")), kDataLoss, "REDUCE: expected an allowed global and a tuple",
               "got a dict and a tuple");
  EXPECT_ERROR(unpickle(pickle(global("torch", "FloatStorage") + ")R")), kDataLoss,
               "a storage type cannot be called");
  EXPECT_ERROR(unpickle(pickle(global("collections", "OrderedDict") + "}\x85R")), kDataLoss,
               "OrderedDict: expected no arguments, got 1");
  EXPECT_ERROR(unpickle(pickle(global("torch._utils", "_rebuild_parameter") + "N\x85R")), kDataLoss,
               "_rebuild_parameter: expected a tensor first");
  EXPECT_ERROR(unpickle(pickle(global("torch._utils", "_rebuild_tensor_v2") + "N\x85R")), kDataLoss,
               "_rebuild_tensor_v2: expected 6 or 7 arguments, got 1");
  EXPECT_ERROR(unpickle(pickle("]}b")), kDataLoss, "BUILD: expected an OrderedDict and a dict");
  EXPECT_ERROR(unpickle(pickle(text("x") + "Q")), kDataLoss, "persistent id: expected",
               "got a string");
  EXPECT_ERROR(unpickle(pickle("(" + text("storage") + "NNNNtQ")), kDataLoss, "persistent id");
}

TEST(Unpickle, StackMarksAndMemoAreChecked) {
  EXPECT_ERROR(unpickle(pickle("")), kDataLoss, "expected one value at the end");
  EXPECT_ERROR(unpickle(pickle("}}")), kDataLoss, "expected one value at the end", "got 2");
  EXPECT_ERROR(unpickle(pickle("0")), kDataLoss, "the stack is empty");
  EXPECT_ERROR(unpickle(pickle("}(0")), kDataLoss, "the stack is empty");
  EXPECT_ERROR(unpickle(pickle("t")), kDataLoss, "expected a mark");
  EXPECT_ERROR(unpickle(pickle("}N\x86\x86")), kDataLoss, "the stack is empty");
  EXPECT_ERROR(unpickle(pickle("h\x05")), kDataLoss, "memo entry 5 was never stored");
  EXPECT_ERROR(unpickle(pickle("j\xff\xff\xff\xff")), kDataLoss, "memo entry 4294967295");
  EXPECT_ERROR(unpickle(pickle("](N")), kDataLoss, "expected one value");
  EXPECT_ERROR(unpickle(pickle("](Nu")), kDataLoss, "expected a dict, got a list");
  EXPECT_ERROR(unpickle(pickle("}(Nu")), kDataLoss, "expected keys and values, got 1");
  EXPECT_ERROR(unpickle(pickle("}Na")), kDataLoss, "expected a list, got a dict");
  EXPECT_ERROR(unpickle(pickle("X\xff\xff\xff\xff"
                               "a")),
               kDataLoss, "truncated: expected 4294967295 bytes");
  EXPECT_ERROR(unpickle(pickle("\x8d" + le(~uint64_t{0}))), kDataLoss, "truncated: expected 18446");
  EXPECT_ERROR(unpickle(pickle("\x8a\x09" + std::string(9, '\1'))), kDataLoss,
               "an integer of at most 8 bytes, got 9");
  EXPECT_ERROR(unpickle("\x80\x06}."), kDataLoss, "protocol 2 to 5, got 6");
  EXPECT_ERROR(unpickle("}."), kDataLoss, "expected a pickle of protocol 2 to 5");
}

TEST(Unpickle, DictsThatContainThemselvesEnd) {
  EXPECT_ERROR(unpickle(pickle("}q\x01" + text("a") + "h\x01s")), kDataLoss,
               "expected dicts nested at most 16 deep");
  // Each dict holds the one before many times: 100^15 ways down.
  std::string ops = "}q\x01";
  ops += "0";
  for (int level = 0; level < 15; ++level) {
    ops += "}(";
    for (int i = 0; i < 100; ++i) ops += text("k") + "h\x01";
    ops += "uq\x01";
    if (level < 14) ops += "0";
  }
  EXPECT_ERROR(unpickle(pickle(ops)), kDataLoss, "got more");
}

TEST(Unpickle, TooManyValues) {
  EXPECT_ERROR(unpickle(pickle("](" + std::string(kMaxPickleValues, 'N') + "e")), kDataLoss,
               "expected at most 4194304 values");
  EXPECT_ERROR(unpickle(pickle(std::string(kMaxPickleValues + 1, '('))), kDataLoss, "marks");
}

TEST(Unpickle, KeysMustBeText) {
  const std::string t = tensor(storage("0", 1), 0, {1}, {1});
  EXPECT_EQ(unpickle(pickle(dict(integer(7), t)))[0].name, "7");
  EXPECT_ERROR(unpickle(pickle(dict("N", t))), kDataLoss, "keys of \"\": expected UTF-8 strings");
  EXPECT_ERROR(unpickle(pickle(dict(text("\xff"), t))), kDataLoss, "expected UTF-8 strings");
  EXPECT_ERROR(unpickle(pickle("]")), kDataLoss, "expected a dict of tensors");
}

TEST(TorchZip, TensorsLieWithinTheirStorage) {
  const auto w = [](int64_t offset, const std::vector<int64_t>& shape,
                    const std::vector<int64_t>& strides, int32_t elements = 6) {
    return parse(dict(text("w"), tensor(storage("0", elements), offset, shape, strides)), 24);
  };
  EXPECT_EQ(w(0, {2, 3}, {3, 1})[0].shape, (Shape{2, 3}));
  EXPECT_EQ(w(5, {1, 1}, {77, 99})[0].shape, (Shape{1, 1}));  // strides of one row do not matter
  EXPECT_EQ(w(6, {0, 9}, {1, 1})[0].shape, (Shape{0, 9}));
  EXPECT_ERROR(w(1, {2, 3}, {3, 1}), kDataLoss,
               "m.bin: tensor \"w\": expected [2, 3] from element 1",
               "within the 6 elements of storage 0");
  EXPECT_ERROR(w(7, {0}, {1}), kDataLoss, "from element 7 on");
  EXPECT_ERROR(w(-1, {1}, {1}), kDataLoss, "offset: expected an integer >= 0, got -1");
  EXPECT_ERROR(w(0, {-1}, {1}), kDataLoss, "size: expected an integer >= 0, got -1");
  EXPECT_ERROR(w(0, {int64_t{1} << 32, int64_t{1} << 32}, {1, 1}), kDataLoss, "tensor \"w\"");
  EXPECT_ERROR(w(INT64_MAX, {1}, {1}), kDataLoss, "tensor \"w\"");
  EXPECT_ERROR(w(0, {7}, {1}, 7), kDataLoss,
               "expected 7 elements of F32 in entry m/data/0, got 24 bytes");
  EXPECT_ERROR(w(0, {2}, {1}, -6), kDataLoss, "elements of a storage: expected an integer >= 0");
  EXPECT_ERROR(w(0, {2, 3}, {1}), kDataLoss, "expected 2 strides, got 1");
  EXPECT_ERROR(w(0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1)), kDataLoss,
               "size: expected a tuple of at most 64 integers, got 65");
}

TEST(TorchZip, OnlyContiguousTensors) {
  const auto w = [](const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
    return parse(dict(text("w"), tensor(storage("0", 6), 0, shape, strides)), 24);
  };
  EXPECT_ERROR(w({3, 2}, {1, 3}), kUnimplemented, "tensor \"w\": expected a contiguous tensor",
               "got strides [1, 3] for [3, 2]", ".contiguous()");
  EXPECT_ERROR(w({2, 3}, {0, 0}), kUnimplemented, "[0, 0]");
  EXPECT_ERROR(w({3}, {2}), kUnimplemented, "[2]");
}

TEST(TorchZip, StoragesAndNames) {
  const std::string t = tensor(storage("9", 1), 0, {1}, {1});
  EXPECT_ERROR(parse(dict(text("w"), t), 4), kDataLoss,
               "tensor \"w\": expected its storage in entry m/data/9, got none");
  const std::string one = tensor(storage("0", 1), 0, {1}, {1});
  EXPECT_ERROR(parse("}" + text("w") + one + "s" + text("w") + one + "s", 4), kDataLoss,
               "m.bin: tensor \"w\": expected once, got twice");
  EXPECT_ERROR(parse(dict(text("w"), tensor(storage("../data.pkl", 1), 0, {1}, {1})), 4), kDataLoss,
               "entry m/data/../data.pkl, got none");
  EXPECT_ERROR(
      parse(dict(text("w"), tensor(storage("0", 1, "ComplexFloatStorage"), 0, {1}, {1})), 8),
      kDataLoss, "global torch.ComplexFloatStorage is not allowed");
  for (const auto& [type, dtype] :
       std::vector<std::pair<std::string, DType>>{{"FloatStorage", DType::kF32},
                                                  {"HalfStorage", DType::kF16},
                                                  {"BFloat16Storage", DType::kBF16},
                                                  {"DoubleStorage", DType::kF64},
                                                  {"LongStorage", DType::kI64},
                                                  {"IntStorage", DType::kI32},
                                                  {"ShortStorage", DType::kI16},
                                                  {"CharStorage", DType::kI8},
                                                  {"ByteStorage", DType::kU8},
                                                  {"BoolStorage", DType::kBool}}) {
    const auto views = parse(dict(text("w"), tensor(storage("0", 1, type), 0, {1}, {1})), 8);
    EXPECT_EQ(views[0].dtype, dtype) << type;
  }
}

TEST(TorchZip, OtherFilesAreTold) {
  const auto read = [](const std::string& file) {
    return parse_torch_zip(bytes_of(file), "m.bin");
  };
  EXPECT_ERROR(read(""), kDataLoss, "m.bin: byte 0: expected a zip archive", "an empty file");
  EXPECT_ERROR(read("hello"), kDataLoss, "expected a zip archive as torch.save writes it");
  EXPECT_ERROR(read("version https://git-lfs.github.com/spec/v1\n"), kDataLoss, "git lfs pull");
  EXPECT_ERROR(read(zip_of({{"a", "x"}})), kDataLoss, "<name>/data.pkl", "got none among 1");
  EXPECT_ERROR(read(zip_of({{"a/data.pkl", "x"}, {"b/data.pkl", "x"}})), kDataLoss,
               "expected one data.pkl, got a/data.pkl and b/data.pkl");
  EXPECT_ERROR(read(zip_of({{"a/data.pkl", pickle("}")}, {"a/byteorder", "big"}})), kUnimplemented,
               "byteorder: expected little, got big");
  EXPECT_TRUE(read(zip_of({{"a/data.pkl", pickle("}")}, {"a/byteorder", "little"}})).empty());
}

}  // namespace
}  // namespace tamis::io
