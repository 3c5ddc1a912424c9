#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// void switch_stack(void** save, void* to): keeps what the ABI says a call keeps.
asm(R"(
.text
.globl tamis_emulation_switch_stack
.type tamis_emulation_switch_stack, @function
tamis_emulation_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tamis_emulation_switch_stack, .-tamis_emulation_switch_stack
)");
extern "C" void tamis_emulation_switch_stack(void** save, void* to);

namespace tamis::emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__)
thread_local FiberContext* host_context = nullptr;

void before_switch(FiberContext* from, const FiberContext& to) {
  __sanitizer_start_switch_fiber(from != nullptr ? &from->fake_stack : nullptr, to.bottom,
                                 to.bytes);
}
/// `left` is the host's context when a fiber is entered: its stack is learnt here.
void after_switch(FiberContext& now, FiberContext* left) {
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(now.fake_stack, &bottom, &bytes);
  if (left != nullptr) left->bottom = bottom, left->bytes = bytes;
}
#else
thread_local FiberContext* host_context = nullptr;
void before_switch(FiberContext*, const FiberContext&) {}
void after_switch(FiberContext&, FiberContext*) {}
#endif

thread_local FiberContext* entered = nullptr;
thread_local void (*entry_point)() = nullptr;

void first_entry() {
  after_switch(*entered, host_context);
  entry_point();
  std::abort();  // entry must leave
}

}  // namespace

Fiber::Fiber() {
  void* p = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  stack_ = static_cast<std::byte*>(p);
  context_.bottom = stack_;
  context_.bytes = kStackBytes;
}

Fiber::~Fiber() { munmap(stack_, kStackBytes); }

void Fiber::start(void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack_, kStackBytes);  // of frames that were never left
#endif
  context_.fake_stack = nullptr;
  // switch_stack pops six registers and returns to first_entry; a function begins with the stack
  // 8 bytes off a multiple of 16, as after a call.
  auto* top = reinterpret_cast<uintptr_t*>(stack_ + kStackBytes) - 1;
  *top = 0;
  *--top = reinterpret_cast<uintptr_t>(&first_entry);
  for (int i = 0; i < 6; ++i) *--top = 0;
  context_.stack_pointer = top;
  entry_point = entry;
}

void Fiber::resume(FiberContext& host) {
  host_context = &host;
  entered = &context_;
  before_switch(&host, context_);
  tamis_emulation_switch_stack(&host.stack_pointer, context_.stack_pointer);
  after_switch(host, nullptr);
}

void Fiber::yield(FiberContext& host) {
  before_switch(&context_, host);
  tamis_emulation_switch_stack(&context_.stack_pointer, host.stack_pointer);
  after_switch(*entered, host_context);
}

void Fiber::leave(FiberContext& host) {
  before_switch(nullptr, host);
  tamis_emulation_switch_stack(&context_.stack_pointer, host.stack_pointer);
  std::abort();
}

}  // namespace tamis::emulation
