// Names and descriptions of cudaError_t, all that driver_types.h has.

#include "fake_cudart_state.h"

namespace tamis::fakes {
namespace {

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;  ///< null: the name is all that the fake has to say
};

#define TAMIS_FAKE_ERROR(name, text) \
  { name, #name, text }

constexpr ErrorText kErrors[] = {
    TAMIS_FAKE_ERROR(cudaSuccess, "no error"),
    TAMIS_FAKE_ERROR(cudaErrorInvalidValue, "invalid argument"),
    TAMIS_FAKE_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    TAMIS_FAKE_ERROR(cudaErrorInitializationError, "initialization error"),
    TAMIS_FAKE_ERROR(cudaErrorCudartUnloading, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorProfilerDisabled, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorProfilerNotInitialized, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorProfilerAlreadyStarted, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorProfilerAlreadyStopped, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    TAMIS_FAKE_ERROR(cudaErrorInvalidPitchValue, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidSymbol, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidHostPointer, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidDevicePointer, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidTexture, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidTextureBinding, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidChannelDescriptor, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    TAMIS_FAKE_ERROR(cudaErrorAddressOfConstant, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorTextureFetchFailed, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorTextureNotBound, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorSynchronizationError, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidFilterSetting, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidNormSetting, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMixedDeviceExecution, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorNotYetImplemented, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMemoryValueTooLarge, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorStubLibrary, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInsufficientDriver,
                     "CUDA driver version is insufficient for CUDA runtime version"),
    TAMIS_FAKE_ERROR(cudaErrorCallRequiresNewerDriver, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidSurface, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorDuplicateVariableName, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorDuplicateTextureName, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorDuplicateSurfaceName, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorDevicesUnavailable, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorIncompatibleDriverContext, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMissingConfiguration, "a launch was not configured"),
    TAMIS_FAKE_ERROR(cudaErrorPriorLaunchFailure, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorLaunchMaxDepthExceeded, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorLaunchFileScopedTex, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorLaunchFileScopedSurf, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorSyncDepthExceeded, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorLaunchPendingCountExceeded, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    TAMIS_FAKE_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    TAMIS_FAKE_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    TAMIS_FAKE_ERROR(cudaErrorDeviceNotLicensed, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorSoftwareValidityNotEstablished, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorStartupFailure, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidKernelImage, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorDeviceUninitialized, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMapBufferObjectFailed, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorUnmapBufferObjectFailed, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorArrayIsMapped, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorAlreadyMapped, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorNoKernelImageForDevice, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorAlreadyAcquired, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorNotMapped, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorNotMappedAsArray, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorNotMappedAsPointer, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    TAMIS_FAKE_ERROR(cudaErrorUnsupportedLimit, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorDeviceAlreadyInUse, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorPeerAccessUnsupported, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidPtx, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidGraphicsContext, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorNvlinkUncorrectable, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorJitCompilerNotFound, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorUnsupportedPtxVersion, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorJitCompilationDisabled, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorUnsupportedExecAffinity, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorUnsupportedDevSideSync, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorContained, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidSource, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorFileNotFound, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorSharedObjectSymbolNotFound, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorSharedObjectInitFailed, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorOperatingSystem, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    TAMIS_FAKE_ERROR(cudaErrorIllegalState, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorLossyQuery, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorSymbolNotFound, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorNotReady, "device not ready"),
    TAMIS_FAKE_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    TAMIS_FAKE_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    TAMIS_FAKE_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    TAMIS_FAKE_ERROR(cudaErrorLaunchIncompatibleTexturing, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorPeerAccessAlreadyEnabled, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorPeerAccessNotEnabled, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorSetOnActiveProcess, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorContextIsDestroyed, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorAssert, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorTooManyPeers, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorHostMemoryAlreadyRegistered, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorHostMemoryNotRegistered, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorHardwareStackError, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorIllegalInstruction, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    TAMIS_FAKE_ERROR(cudaErrorInvalidAddressSpace, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidPc, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    TAMIS_FAKE_ERROR(cudaErrorCooperativeLaunchTooLarge, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorTensorMemoryLeak, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    TAMIS_FAKE_ERROR(cudaErrorNotSupported, "operation not supported"),
    TAMIS_FAKE_ERROR(cudaErrorSystemNotReady, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorSystemDriverMismatch, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorCompatNotSupportedOnDevice, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMpsConnectionFailed, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMpsRpcFailure, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMpsServerNotReady, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMpsMaxClientsReached, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMpsMaxConnectionsReached, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorMpsClientTerminated, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorCdpNotSupported, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorCdpVersionMismatch, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorStreamCaptureUnsupported,
                     "operation not permitted when stream is capturing"),
    TAMIS_FAKE_ERROR(cudaErrorStreamCaptureInvalidated,
                     "operation failed due to a previous error during capture"),
    TAMIS_FAKE_ERROR(cudaErrorStreamCaptureMerge, "operation would merge two captures"),
    TAMIS_FAKE_ERROR(cudaErrorStreamCaptureUnmatched, "the capture was not begun in this stream"),
    TAMIS_FAKE_ERROR(cudaErrorStreamCaptureUnjoined, "a fork of the capture was not joined"),
    TAMIS_FAKE_ERROR(cudaErrorStreamCaptureIsolation,
                     "dependency created across the bounds of a capture"),
    TAMIS_FAKE_ERROR(cudaErrorStreamCaptureImplicit,
                     "operation would depend on a capture through the legacy stream"),
    TAMIS_FAKE_ERROR(cudaErrorCapturedEvent,
                     "operation not permitted on an event last recorded in a capturing stream"),
    TAMIS_FAKE_ERROR(cudaErrorStreamCaptureWrongThread, "the capture was begun in another thread"),
    TAMIS_FAKE_ERROR(cudaErrorTimeout, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorGraphExecUpdateFailure, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorExternalDevice, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidClusterSize, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorFunctionNotLoaded, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidResourceType, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorInvalidResourceConfiguration, nullptr),
    TAMIS_FAKE_ERROR(cudaErrorUnknown, "unknown error"),
    TAMIS_FAKE_ERROR(cudaErrorApiFailureBase, nullptr),
};

#undef TAMIS_FAKE_ERROR

const ErrorText* find(cudaError_t error) {
  for (const ErrorText& known : kErrors) {
    if (known.error == error) return &known;
  }
  return nullptr;
}

constexpr const char* kUnknown = "unrecognized error code";

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

// They take no lock and count nothing, so that they can be called from anywhere.
const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* known = find(error);
  return known == nullptr ? kUnknown : known->name;
}

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* known = find(error);
  if (known == nullptr) return kUnknown;
  return known->text != nullptr ? known->text : known->name;
}

}  // extern "C"
