/* libcudart: the CUDA runtime, in terms of the books in core.h. Here: errors, versions, devices and the way to the driver.
 *
 * Whatever is not written in cudart*.c is exported all the same, and refuses with cudaErrorNotSupported under its own name
 * (see build.py). Work is done when it is asked for, so asynchronous calls are the synchronous ones.
 */
#include "runtime.h"

#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

_Thread_local cudaError_t last_error;

/* ---- errors and versions -------------------------------------------------------------------------------------------------- */

typedef struct {
    cudaError_t error;
    const char *name, *text;
} error_words;

/* The texts that PyTorch and others compare or print; the rest say their number. */
static const error_words words[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidSymbol, "cudaErrorInvalidSymbol", "invalid device symbol"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge", "operation would result in a merge of separate capture sequences"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation", "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit", "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent", "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread", "attempt to terminate a thread-local capture sequence from another thread"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported (by the emulated card)"},
    {cudaErrorPeerAccessAlreadyEnabled, "cudaErrorPeerAccessAlreadyEnabled", "peer access is already enabled"},
    {cudaErrorPeerAccessNotEnabled, "cudaErrorPeerAccessNotEnabled", "peer access has not been enabled"},
    {cudaErrorPeerAccessUnsupported, "cudaErrorPeerAccessUnsupported", "peer access is not supported between these two devices"},
    {cudaErrorHostMemoryAlreadyRegistered, "cudaErrorHostMemoryAlreadyRegistered", "part or all of the requested memory range is already mapped"},
    {cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered", "pointer does not correspond to a registered memory region"},
};

static const error_words *words_of(cudaError_t error)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].error == error)
            return &words[i];
    static const error_words unknown = {cudaErrorUnknown, "cudaErrorUnknown", "CUDA error without a text on the emulated card"};
    return &unknown;
}

const char *cudaGetErrorName(cudaError_t error) { return words_of(error)->name; }
const char *cudaGetErrorString(cudaError_t error) { return words_of(error)->text; }
cudaError_t cudaPeekAtLastError(void) { return last_error; }

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = VG_CUDA_RELEASE;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = vg_the_card()->driver_version;
    return cudaSuccess;
}

/* ---- devices -------------------------------------------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = vg_card_count();
    return *count > 0 ? cudaSuccess : done(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = vg_current_device();
    return about(*device);
}

cudaError_t cudaSetDevice(int device)
{
    vg_set_current_device(device);
    return about(device);
}

cudaError_t cudaInitDevice(int device, unsigned device_flags, unsigned flags)
{
    (void)device_flags, (void)flags;
    return about(device);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    if (!device_known(device))
        return about(device);
    if (vg_attribute((int)attribute, device, value))
        return cudaSuccess;
    char name[48];
    snprintf(name, sizeof name, "cudaDeviceGetAttribute(%d)", (int)attribute);
    return refuse(name);
}

static int attribute(int number, int device)
{
    int value = 0;
    vg_attribute(number, device, &value);
    return value;
}

static void describe(struct cudaDeviceProp *prop, int device)
{
    const vg_card *card = vg_the_card();
    snprintf(prop->name, sizeof prop->name, "%s", card->name);
    vg_uuid(device, (unsigned char *)prop->uuid.bytes);
    prop->totalGlobalMem = card->total_bytes;
    prop->major = card->major;
    prop->minor = card->minor;
    prop->multiProcessorCount = card->sm_count;
    prop->l2CacheSize = card->l2_bytes;
    prop->sharedMemPerMultiprocessor = (size_t)card->shared_memory_per_sm_bytes;
    prop->sharedMemPerBlockOptin = (size_t)card->shared_memory_per_block_optin_bytes;
    prop->maxThreadsPerMultiProcessor = card->max_threads_per_sm;
    prop->maxBlocksPerMultiProcessor = card->max_blocks_per_sm;
    prop->memoryBusWidth = card->memory_bus_bits;
    prop->ECCEnabled = card->ecc;
    prop->pciBusID = attribute(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, device);
    prop->clusterLaunch = attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, device);
}

static void describe_limits(struct cudaDeviceProp *prop, int device)
{
    prop->sharedMemPerBlock = (size_t)attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, device);
    prop->reservedSharedMemPerBlock = (size_t)attribute(CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, device);
    prop->regsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, device);
    prop->regsPerMultiprocessor = attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, device);
    prop->warpSize = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE, device);
    prop->memPitch = (size_t)attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH, device);
    prop->totalConstMem = (size_t)attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, device);
    prop->textureAlignment = (size_t)attribute(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, device);
    prop->texturePitchAlignment = (size_t)attribute(CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT, device);
    prop->maxThreadsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, device);
    for (int axis = 0; axis < 3; axis++) {
        prop->maxThreadsDim[axis] = attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + axis, device);
        prop->maxGridSize[axis] = attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + axis, device);
    }
    prop->asyncEngineCount = attribute(CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, device);
    prop->canMapHostMemory = prop->concurrentKernels = prop->unifiedAddressing = 1;
    prop->streamPrioritiesSupported = prop->globalL1CacheSupported = prop->localL1CacheSupported = 1;
    prop->managedMemory = prop->concurrentManagedAccess = prop->computePreemptionSupported = 1;
    prop->memoryPoolsSupported = prop->cooperativeLaunch = prop->hostRegisterSupported = prop->canUseHostPointerForRegisteredMem = 1;
#if CUDART_VERSION < 13000 /* CUDA 13 answers these as attributes alone */
    prop->clockRate = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE, device);
    prop->memoryClockRate = attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, device);
    prop->deviceOverlap = 1;
#endif
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    memset(prop, 0, sizeof *prop);
    if (!device_known(device))
        return about(device);
    describe(prop, device);
    describe_limits(prop, device);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int capacity, int device)
{
    if (!device_known(device) || capacity < 13)
        return done(cudaErrorInvalidValue);
    snprintf(text, (size_t)capacity, "0000:%02x:00.0", vg_card_of(device) + 1);
    return cudaSuccess;
}

/* Two cards reach each other where the catalogue says so of the target; memory of one is at its own address for both. */
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    *can = device != peer && vg_the_card()->peer_access;
    return device_known(device) && device_known(peer) ? cudaSuccess : done(cudaErrorInvalidDevice);
}

static bool peers[VG_MAX_CARDS][VG_MAX_CARDS]; /* what a device has been allowed to reach; a process sets it up once */

static cudaError_t set_peer(int peer, bool enabled, cudaError_t already)
{
    int own = vg_current_device();
    if (!device_known(peer) || peer == own)
        return done(cudaErrorInvalidDevice);
    if (!vg_the_card()->peer_access)
        return done(cudaErrorPeerAccessUnsupported);
    if (peers[own][peer] == enabled)
        return done(already);
    peers[own][peer] = enabled;
    return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags)
{
    return flags != 0 ? done(cudaErrorInvalidValue) : set_peer(peer, true, cudaErrorPeerAccessAlreadyEnabled);
}

cudaError_t cudaDeviceDisablePeerAccess(int peer) { return set_peer(peer, false, cudaErrorPeerAccessNotEnabled); }

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    return status(vg_synchronise());
}

/* ---- the way to the driver ------------------------------------------------------------------------------------------------ */

/* The driver knows which form of a function belongs to which release. */
cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version, unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *result)
{
    CUresult (*look_up)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *) = NULL;
    *function = NULL;
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (driver != NULL) {
        *(void **)&look_up = dlsym(driver, "cuGetProcAddress_v2");
        look_up(symbol, function, (int)version, flags, NULL);
        dlclose(driver);
    }
    if (result != NULL)
        *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
