// Checks of captures and graphs of the fake libcudart, and of several threads.

#include <cstring>
#include <thread>

#include "self_check.h"

namespace tamis::fakes {
namespace {

cudaGraphExec_t captured(cudaStream_t s) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  OK(cudaStreamEndCapture(s, &graph));
  OK(cudaGraphInstantiate(&exec, graph, 0));
  OK(cudaGraphDestroy(graph));  // the executable one is a copy
  return exec;
}

void begin(cudaStream_t s, cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal) {
  OK(cudaStreamBeginCapture(s, mode));
}

/// The capture ends with this and without a graph.
void expect_spoilt(cudaStream_t s, cudaError_t error = cudaErrorStreamCaptureInvalidated) {
  cudaGraph_t graph = reinterpret_cast<cudaGraph_t>(1);
  REFUSED(error, cudaStreamEndCapture(s, &graph));
  CHECK(graph == nullptr);
}

void check_replay() {
  auto* p = device_array(2);
  auto* pinned = pinned_array(2);
  cudaStream_t s = new_stream(), side = new_stream();
  cudaEvent_t fork = new_event(), join = new_event();
  begin(s);
  OK(cudaMemcpyAsync(p, pinned, 8, cudaMemcpyHostToDevice, s));
  OK(cudaEventRecord(fork, s));
  OK(cudaStreamWaitEvent(side, fork, 0));
  OK(launch_scale({p, 1, 2}, s));
  OK(launch_scale({p + 1, 1, 5}, side));
  OK(cudaEventRecord(join, side));
  OK(cudaStreamWaitEvent(s, join, 0));
  OK(cudaMemcpyAsync(pinned, p, 8, cudaMemcpyDeviceToHost, s));
  cudaGraphExec_t exec = captured(s);
  CHECK(fake_cuda()->live().queued == 0 && fake_cuda()->counts().launches.empty());

  pinned[0] = pinned[1] = 1;
  for (int i = 0; i < 3; ++i) OK(cudaGraphLaunch(exec, i == 1 ? side : s));
  OK(cudaDeviceSynchronize());  // one launch after the other, though on two streams
  CHECK(pinned[0] == 8 && pinned[1] == 125);
  OK(cudaGraphLaunch(exec, s));
  OK(cudaGraphExecDestroy(exec));  // what is launched is still done
  OK(cudaStreamSynchronize(s));
  CHECK(pinned[0] == 16 && pinned[1] == 625);
  CHECK(fake_cuda()->counts().graph_launches == 4);
  CHECK(fake_cuda()->counts().launches["scale"] == 8 && fake_cuda()->complaints().empty());
  REFUSED(cudaErrorInvalidValue, cudaGraphLaunch(exec, s));
}

void check_spoilt_captures() {
  auto* p = device_array(2);
  float host[2] = {};
  cudaStream_t s = new_stream(), side = new_stream();
  cudaEvent_t fork = new_event(), outside = new_event();
  OK(cudaEventRecord(outside, side));

  void* q = nullptr;
  begin(s);
  REFUSED(cudaErrorStreamCaptureUnsupported, cudaMalloc(&q, 4));
  CHECK(launch_scale({p, 1, 1}, s) == cudaErrorStreamCaptureInvalidated);
  expect_spoilt(s);
  begin(s);
  REFUSED(cudaErrorStreamCaptureUnsupported, cudaStreamSynchronize(s));
  expect_spoilt(s);
  begin(s);
  REFUSED(cudaErrorStreamCaptureUnsupported, cudaDeviceSynchronize());
  expect_spoilt(s);
  begin(s);
  REFUSED(cudaErrorStreamCaptureUnsupported,
          cudaMemcpyAsync(p, host, 8, cudaMemcpyHostToDevice, s));
  expect_spoilt(s);
  begin(s);
  REFUSED(cudaErrorStreamCaptureIsolation, cudaStreamWaitEvent(s, outside, 0));
  expect_spoilt(s);
  begin(s, cudaStreamCaptureModeRelaxed);
  OK(cudaMalloc(&q, 4));
  OK(cudaEventRecord(fork, s));
  REFUSED(cudaErrorCapturedEvent, cudaEventQuery(fork));
  expect_spoilt(s);

  begin(s);
  OK(launch_scale({p, 1, 1}, s));
  OK(cudaEventRecord(fork, s));
  OK(cudaStreamWaitEvent(side, fork, 0));
  OK(launch_scale({p, 1, 1}, side));  // never joined
  cudaGraph_t graph = nullptr;
  REFUSED(cudaErrorStreamCaptureUnmatched, cudaStreamEndCapture(side, &graph));
  expect_spoilt(s);
  begin(s);
  OK(cudaEventRecord(fork, s));
  OK(cudaStreamWaitEvent(side, fork, 0));
  OK(launch_scale({p, 1, 1}, side));
  expect_spoilt(s, cudaErrorStreamCaptureUnjoined);
  OK(launch_scale({p, 1, 1}, side));  // as before the capture
  OK(cudaStreamSynchronize(side));

  cudaStream_t blocking = nullptr;
  OK(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault));
  begin(blocking);
  REFUSED(cudaErrorStreamCaptureImplicit, launch_scale({p, 1, 1}, nullptr));
  expect_spoilt(blocking);
  REFUSED(cudaErrorInvalidValue, cudaStreamEndCapture(s, &graph));
  REFUSED(cudaErrorInvalidValue, cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeRelaxed));

  // A global capture binds other threads too, one of its thread alone does not.
  begin(s, cudaStreamCaptureModeGlobal);
  std::thread([&] { REFUSED(cudaErrorStreamCaptureUnsupported, cudaMalloc(&q, 4)); }).join();
  expect_spoilt(s);
  begin(s);
  std::thread([&] {
    OK(cudaMalloc(&q, 4));
    REFUSED(cudaErrorStreamCaptureWrongThread, cudaStreamEndCapture(s, &graph));
  }).join();
  OK(cudaStreamEndCapture(s, &graph));
  OK(cudaGraphDestroy(graph));
  CHECK(fake_cuda()->live().graphs == 0);
}

}  // namespace

void check_graphs() {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    fake_cuda()->set_up(machine(1, seed));
    check_replay();
    check_spoilt_captures();
  }
}

void check_threads() {
  FakeSetup setup = machine(2);
  setup.devices[1].slow_factor = 3;
  fake_cuda()->set_up(setup);
  const auto work = [](int device) {
    OK(cudaSetDevice(device));
    auto* p = device_array(64);
    auto* host = pinned_array(64);
    cudaStream_t s = new_stream();
    for (int round = 0; round < 200; ++round) {
      for (int i = 0; i < 64; ++i) host[i] = 1;
      OK(cudaMemcpyAsync(p, host, 256, cudaMemcpyHostToDevice, s));
      OK(launch_scale({p, 64, 4}, s));
      OK(cudaMemcpyAsync(host, p, 256, cudaMemcpyDeviceToHost, s));
      OK(cudaStreamSynchronize(s));
      CHECK(host[0] == 4 && host[63] == 4);
    }
    OK(cudaFree(p));
    OK(cudaFreeHost(host));
    OK(cudaStreamDestroy(s));
  };
  std::thread threads[] = {std::thread(work, 0), std::thread(work, 0), std::thread(work, 1),
                           std::thread(work, 1)};
  for (std::thread& thread : threads) thread.join();
  CHECK(fake_cuda()->live().none() && fake_cuda()->complaints().empty());
  CHECK(fake_cuda()->counts().launches["scale"] == 800);
}

}  // namespace tamis::fakes
