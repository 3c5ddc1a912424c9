// Which int8 and bf16 kernels this x86 CPU and its operating system let us run.

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/bf16_dot.h"
#include "kernels/int8_dot.h"

namespace tamis::kernels {
namespace {

struct Features {
  bool avx2 = false, avx_vnni = false, avx512 = false, avx512_vnni = false, amx_int8 = false,
       amx_bf16 = false, avx512_bf16 = false;
};

uint64_t enabled_state() {
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

/// Linux gives a process the state of AMX tiles when it asks (ARCH_REQ_XCOMP_PERM of XTILEDATA);
/// for all of its threads, and not where a thread's signal stack has no room for it.
bool get_tile_permission() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Features detect() {
  Features out;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return out;
  const uint64_t state = enabled_state();
  const auto saves = [&](uint64_t bits) { return (state & bits) == bits; };
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return out;
  out.avx2 = (b & 1U << 5) != 0 && saves(0x6);
  out.avx512 = (b & 1U << 16) != 0 && (b & 1U << 30) != 0 && saves(0xe6);
  out.avx512_vnni = out.avx512 && (c & 1U << 11) != 0;
  const bool tiles = (d & 1U << 24) != 0 && (d & 1U << 25) != 0 && saves(0x60000);
  out.amx_int8 = tiles && out.avx512_vnni && get_tile_permission();
  out.amx_bf16 = out.amx_int8 && (d & 1U << 22) != 0;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    out.avx_vnni = out.avx2 && (a & 1U << 4) != 0;
    out.avx512_bf16 = out.avx512_vnni && (a & 1U << 5) != 0;
  }
  return out;
}

const Features& cpu() {
  static const Features kCpu = detect();
  return kCpu;
}

}  // namespace

std::vector<const Int8Dot*> int8_dots(int64_t nr) {
  std::vector<const Int8Dot*> out;
  if (nr == 32 && cpu().amx_int8) out.push_back(&kInt8Amx);
  if (nr == 32 && cpu().avx512_vnni) out.push_back(&kInt8Avx512Vnni);
  if (nr == 32 && cpu().avx512) out.push_back(&kInt8Avx512);
  if (nr == 16 && cpu().avx_vnni) out.push_back(&kInt8AvxVnni);
  if (nr == 16 && cpu().avx2) out.push_back(&kInt8Avx2);
  out.push_back(&kInt8Generic);
  return out;
}

const Bf16Dot* bf16_dot(std::string_view int8_isa) {
  if (int8_isa == kInt8Amx.isa && cpu().amx_bf16) return &kBf16Amx;
  // With AMX as well: who asks for avx512_vnni gets no tiles.
  return int8_isa == kInt8Avx512Vnni.isa && cpu().avx512_bf16 ? &kBf16Avx512 : nullptr;
}

}  // namespace tamis::kernels
