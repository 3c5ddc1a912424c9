#pragma once

// The opcodes of Python's pickle (pickletools.py) that a file of weights needs, protocols 2 to 5,
// and the names of the others for messages. Those that could call code are among the others.

#include <cstdint>
#include <string_view>

namespace tamis::io::pickle_op {

inline constexpr uint8_t kMark = '(';
inline constexpr uint8_t kStop = '.';
inline constexpr uint8_t kPop = '0';
inline constexpr uint8_t kPopMark = '1';
inline constexpr uint8_t kBinFloat = 'G';
inline constexpr uint8_t kBinInt = 'J';
inline constexpr uint8_t kBinInt1 = 'K';
inline constexpr uint8_t kBinInt2 = 'M';
inline constexpr uint8_t kNone = 'N';
inline constexpr uint8_t kBinPersId = 'Q';
inline constexpr uint8_t kReduce = 'R';
inline constexpr uint8_t kBinUnicode = 'X';
inline constexpr uint8_t kAppend = 'a';
inline constexpr uint8_t kBuild = 'b';
inline constexpr uint8_t kGlobal = 'c';
inline constexpr uint8_t kAppends = 'e';
inline constexpr uint8_t kBinGet = 'h';
inline constexpr uint8_t kLongBinGet = 'j';
inline constexpr uint8_t kBinPut = 'q';
inline constexpr uint8_t kLongBinPut = 'r';
inline constexpr uint8_t kSetItem = 's';
inline constexpr uint8_t kTuple = 't';
inline constexpr uint8_t kSetItems = 'u';
inline constexpr uint8_t kEmptyDict = '}';
inline constexpr uint8_t kEmptyList = ']';
inline constexpr uint8_t kEmptyTuple = ')';
inline constexpr uint8_t kBinBytes = 'B';
inline constexpr uint8_t kShortBinBytes = 'C';
inline constexpr uint8_t kProto = 0x80;
inline constexpr uint8_t kTuple1 = 0x85;
inline constexpr uint8_t kTuple2 = 0x86;
inline constexpr uint8_t kTuple3 = 0x87;
inline constexpr uint8_t kNewTrue = 0x88;
inline constexpr uint8_t kNewFalse = 0x89;
inline constexpr uint8_t kLong1 = 0x8a;
inline constexpr uint8_t kShortBinUnicode = 0x8c;
inline constexpr uint8_t kBinUnicode8 = 0x8d;
inline constexpr uint8_t kBinBytes8 = 0x8e;
inline constexpr uint8_t kStackGlobal = 0x93;
inline constexpr uint8_t kMemoize = 0x94;
inline constexpr uint8_t kFrame = 0x95;

struct Refused {
  uint8_t op;
  std::string_view name;
};
inline constexpr Refused kRefused[] = {
    {'i', "INST"},        {'o', "OBJ"},          {'P', "PERSID"},
    {'I', "INT"},         {'L', "LONG"},         {'F', "FLOAT"},
    {'S', "STRING"},      {'T', "BINSTRING"},    {'U', "SHORT_BINSTRING"},
    {'V', "UNICODE"},     {'2', "DUP"},          {'d', "DICT"},
    {'l', "LIST"},        {'g', "GET"},          {'p', "PUT"},
    {0x81, "NEWOBJ"},     {0x82, "EXT1"},        {0x83, "EXT2"},
    {0x84, "EXT4"},       {0x8b, "LONG4"},       {0x8f, "EMPTY_SET"},
    {0x90, "ADDITEMS"},   {0x91, "FROZENSET"},   {0x92, "NEWOBJ_EX"},
    {0x96, "BYTEARRAY8"}, {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"}};

inline std::string_view refused_name(uint8_t op) {
  for (const Refused& refused : kRefused) {
    if (refused.op == op) return refused.name;
  }
  return "unknown";
}

}  // namespace tamis::io::pickle_op
