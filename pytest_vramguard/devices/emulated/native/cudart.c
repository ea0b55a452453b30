/* libcudart: the CUDA runtime, in terms of the books in core.h.
 *
 * Whatever is not written here is exported all the same, and refuses with cudaErrorNotSupported under its own name
 * (see build.py). Work is done when it is asked for, so asynchronous calls are the synchronous ones.
 */
#include "core.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local cudaError_t last_error;

static cudaError_t done(cudaError_t error)
{
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

static cudaError_t status(vg_status outcome)
{
    switch (outcome) {
    case VG_OK: return cudaSuccess;
    case VG_OUT_OF_MEMORY: return done(cudaErrorMemoryAllocation);
    case VG_HOST_EXHAUSTED: return done((cudaError_t)vg_refuse("more memory than this host can give", cudaErrorMemoryAllocation));
    case VG_BAD_ADDRESS: return done(cudaErrorInvalidValue);
    }
    return done(cudaErrorUnknown);
}

static cudaError_t refuse(const char *name)
{
    return done((cudaError_t)vg_refuse(name, cudaErrorNotSupported));
}

static bool device_known(int device)
{
    return device >= 0 && device < vg_card_count();
}

/* The error, if any, of a call about a device. */
static cudaError_t about(int device)
{
    if (vg_card_count() == 0)
        return done(cudaErrorNoDevice);
    return device_known(device) ? cudaSuccess : done(cudaErrorInvalidDevice);
}

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
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
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
    *version = vg_the_card()->runtime_version;
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
    prop->cooperativeLaunch = prop->hostRegisterSupported = prop->canUseHostPointerForRegisteredMem = 1;
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
    vg_count(VG_SYNCHRONISATIONS, 1);
    return cudaSuccess;
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

static cudaError_t allocate(vg_kind kind, void **address, size_t size_bytes)
{
    if (vg_card_count() == 0)
        return done(cudaErrorNoDevice);
    return status(vg_allocate(kind, vg_current_device(), size_bytes, address));
}

cudaError_t cudaMalloc(void **address, size_t size_bytes)
{
    return allocate(VG_DEVICE, address, size_bytes);
}

cudaError_t cudaFree(void *address) { return status(vg_release(VG_DEVICE, address)); }

cudaError_t cudaMallocManaged(void **address, size_t size_bytes, unsigned flags)
{
    (void)flags;
    if (size_bytes == 0)
        return done(cudaErrorInvalidValue);
    return allocate(VG_MANAGED, address, size_bytes);
}

cudaError_t cudaHostAlloc(void **address, size_t size_bytes, unsigned flags)
{
    (void)flags;
    return allocate(VG_PINNED, address, size_bytes);
}

cudaError_t cudaMallocHost(void **address, size_t size_bytes) { return cudaHostAlloc(address, size_bytes, 0); }
cudaError_t cudaFreeHost(void *address) { return status(vg_release(VG_PINNED, address)); }

cudaError_t cudaHostRegister(void *address, size_t size_bytes, unsigned flags)
{
    (void)flags;
    if (address == NULL || size_bytes == 0 || size_bytes > UINTPTR_MAX - (uintptr_t)address)
        return done(cudaErrorInvalidValue);
    vg_status outcome = vg_register_host(address, size_bytes);
    return outcome == VG_BAD_ADDRESS ? done(cudaErrorHostMemoryAlreadyRegistered) : status(outcome);
}

cudaError_t cudaHostUnregister(void *address)
{
    return vg_unregister_host(address) == VG_OK ? cudaSuccess : done(cudaErrorHostMemoryNotRegistered);
}

cudaError_t cudaHostGetDevicePointer(void **device_address, void *host_address, unsigned flags)
{
    (void)flags;
    vg_region region;
    *device_address = host_address; /* unified addressing */
    return vg_find(host_address, &region) ? cudaSuccess : done(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    if (vg_card_count() == 0)
        return done(cudaErrorNoDevice);
    vg_usage usage = vg_usage_of(vg_current_device());
    *total_bytes = usage.total_bytes;
    *free_bytes = usage.total_bytes - usage.used_bytes - usage.managed_bytes;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *address)
{
    static const enum cudaMemoryType types[] = {
        [VG_DEVICE] = cudaMemoryTypeDevice,
        [VG_MANAGED] = cudaMemoryTypeManaged,
        [VG_PINNED] = cudaMemoryTypeHost,
        [VG_REGISTERED] = cudaMemoryTypeHost,
    };
    memset(attributes, 0, sizeof *attributes);
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = cudaInvalidDeviceId;
    vg_region region;
    if (!vg_find(address, &region))
        return cudaSuccess;
    attributes->type = types[region.kind];
    attributes->device = region.device;
    attributes->devicePointer = (void *)address;
    attributes->hostPointer = region.kind == VG_DEVICE ? NULL : (void *)address;
    return cudaSuccess;
}

/* Managed memory is where it is wanted at once; where it resides is worked out by the ledger. */
cudaError_t cudaMemPrefetchAsync(const void *address, size_t size_bytes, struct cudaMemLocation location, unsigned flags, cudaStream_t stream)
{
    (void)size_bytes, (void)location, (void)flags, (void)stream;
    vg_region region;
    return vg_find(address, &region) && region.kind == VG_MANAGED ? cudaSuccess : done(cudaErrorInvalidValue);
}

/* ---- copies --------------------------------------------------------------------------------------------------------------- */

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size_bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    (void)kind, (void)stream; /* unified addressing: the addresses say where they are */
    return status(vg_copy(to, from, size_bytes));
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t size_bytes, enum cudaMemcpyKind kind)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return cudaMemcpyAsync(to, from, size_bytes, kind, NULL);
}

cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t size_bytes, cudaStream_t stream)
{
    (void)to_device, (void)from_device, (void)stream;
    return status(vg_copy(to, from, size_bytes));
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width_bytes, size_t height,
                              enum cudaMemcpyKind kind, cudaStream_t stream)
{
    (void)kind, (void)stream;
    if (width_bytes > to_pitch || width_bytes > from_pitch)
        return done(cudaErrorInvalidPitchValue);
    return status(vg_copy_rows(to, to_pitch, from, from_pitch, width_bytes, height));
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t size_bytes, cudaStream_t stream)
{
    (void)stream;
    unsigned char byte = (unsigned char)value;
    return status(vg_fill(to, &byte, 1, size_bytes));
}

cudaError_t cudaMemset(void *to, int value, size_t size_bytes) { return cudaMemsetAsync(to, value, size_bytes, NULL); }

/* ---- variables of device code ------------------------------------------------------------------------------------------------ */

typedef struct variable {
    const void *symbol;
    size_t size_bytes;
    void *bytes; /* host memory: no kernel runs that could want it on the card; context bytes cover its place there */
    struct variable *next;
} variable;

static pthread_mutex_t variables_lock = PTHREAD_MUTEX_INITIALIZER;
static variable *variables;

static variable *variable_of(const void *symbol)
{
    pthread_mutex_lock(&variables_lock);
    variable *found = variables;
    while (found != NULL && found->symbol != symbol)
        found = found->next;
    if (found != NULL && found->bytes == NULL)
        found->bytes = calloc(1, found->size_bytes);
    pthread_mutex_unlock(&variables_lock);
    return found != NULL && found->bytes != NULL ? found : NULL;
}

cudaError_t cudaGetSymbolAddress(void **address, const void *symbol)
{
    variable *found = variable_of(symbol);
    *address = found ? found->bytes : NULL;
    return found ? cudaSuccess : done(cudaErrorInvalidSymbol);
}

cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t size_bytes, size_t offset, enum cudaMemcpyKind kind)
{
    (void)kind;
    variable *found = variable_of(symbol);
    if (found == NULL || offset > found->size_bytes || size_bytes > found->size_bytes - offset)
        return done(cudaErrorInvalidSymbol);
    return status(vg_copy((char *)found->bytes + offset, from, size_bytes));
}

/* ---- code and launches ---------------------------------------------------------------------------------------------------- */

/* What compiled host code calls when it is loaded and before each launch. Source: crt/host_runtime.h of the CUDA headers. */
void **__cudaRegisterFatBinary(void *binary);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterFunction(void **handle, const char *host_function, char *device_function, const char *device_name, int thread_limit,
                            void *thread_id, void *block_id, void *block_dim, void *grid_dim, int *warp_size);
void __cudaRegisterVar(void **handle, char *symbol, char *address, const char *name, int external, size_t size_bytes, int constant, int global);
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, struct CUstream_st *stream);
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream);
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream);

void **__cudaRegisterFatBinary(void *binary)
{
    static void *handle; /* nothing is looked up in it */
    (void)binary;
    return &handle;
}

void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }
void __cudaUnregisterFatBinary(void **handle) { (void)handle; }
char __cudaInitModule(void **handle)
{
    (void)handle;
    return 1;
}

void __cudaRegisterFunction(void **handle, const char *host_function, char *device_function, const char *device_name, int thread_limit,
                            void *thread_id, void *block_id, void *block_dim, void *grid_dim, int *warp_size)
{
    (void)handle, (void)host_function, (void)device_function, (void)device_name, (void)thread_limit;
    (void)thread_id, (void)block_id, (void)block_dim, (void)grid_dim, (void)warp_size;
}

void __cudaRegisterVar(void **handle, char *symbol, char *address, const char *name, int external, size_t size_bytes, int constant, int global)
{
    (void)handle, (void)address, (void)name, (void)external, (void)constant, (void)global;
    variable *added = malloc(sizeof *added);
    if (added == NULL)
        return; /* a later look-up answers cudaErrorInvalidSymbol */
    pthread_mutex_lock(&variables_lock);
    *added = (variable){symbol, size_bytes ? size_bytes : 1, NULL, variables};
    variables = added;
    pthread_mutex_unlock(&variables_lock);
}

typedef struct {
    dim3 grid, block;
    size_t shared_bytes;
    struct CUstream_st *stream;
} call_configuration;

#define CONFIGURATION_DEPTH 16
static _Thread_local call_configuration configurations[CONFIGURATION_DEPTH];
static _Thread_local int configuration_count;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, struct CUstream_st *stream)
{
    if (configuration_count == CONFIGURATION_DEPTH)
        return 1;
    configurations[configuration_count++] = (call_configuration){grid, block, shared_bytes, stream};
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream)
{
    if (configuration_count == 0)
        return done(cudaErrorMissingConfiguration);
    call_configuration top = configurations[--configuration_count];
    *grid = top.grid;
    *block = top.block;
    *shared_bytes = top.shared_bytes;
    *(struct CUstream_st **)stream = top.stream;
    return cudaSuccess;
}

static cudaError_t launched(dim3 grid, dim3 block)
{
    const unsigned blocks[] = {grid.x, grid.y, grid.z}, threads[] = {block.x, block.y, block.z};
    if (vg_card_count() == 0)
        return done(cudaErrorNoDevice);
    return vg_launch(blocks, threads) ? cudaSuccess : done(cudaErrorInvalidConfiguration);
}

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function)
{
    *kernel = (cudaKernel_t)function;
    return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream)
{
    (void)kernel, (void)arguments, (void)shared_bytes, (void)stream;
    return launched(grid, block);
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream)
{
    (void)function, (void)arguments, (void)shared_bytes, (void)stream;
    return launched(grid, block);
}

cudaError_t cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream)
{
    return cudaLaunchKernel(function, grid, block, arguments, shared_bytes, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *configuration, const void *function, void **arguments)
{
    (void)function, (void)arguments;
    return launched(configuration->gridDim, configuration->blockDim);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *argument)
{
    (void)stream;
    function(argument);
    return cudaSuccess;
}

cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void *argument, unsigned flags)
{
    (void)flags;
    callback(stream, cudaSuccess, argument);
    return cudaSuccess;
}

/* Registers and local memory of a kernel are in its machine code, which nobody reads here; 32 registers let any block run.
 * They bound the size of grids, never the size of tensors. */
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function)
{
    (void)function;
    const vg_card *card = vg_the_card();
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = card->major * 10 + card->minor;
    attributes->maxDynamicSharedSizeBytes = 48 * 1024;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    (void)function;
    int most = vg_the_card()->shared_memory_per_block_optin_bytes;
    return attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value > most ? done(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int block_threads,
                                                                   size_t shared_bytes, unsigned flags)
{
    (void)function, (void)flags;
    *blocks = vg_resident_blocks(block_threads, shared_bytes);
    return *blocks >= 0 ? cudaSuccess : done(cudaErrorInvalidValue);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int block_threads, size_t shared_bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_threads, shared_bytes, 0);
}

cudaError_t cudaProfilerStart(void) { return cudaSuccess; }
cudaError_t cudaProfilerStop(void) { return cudaSuccess; }

/* ---- streams and events --------------------------------------------------------------------------------------------------- */

static cudaError_t known(cudaStream_t stream) { return vg_stream_known(stream) ? cudaSuccess : done(cudaErrorInvalidResourceHandle); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    *stream = (cudaStream_t)vg_stream_create(flags, priority);
    return *stream ? cudaSuccess : done(cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) { return cudaStreamCreateWithPriority(stream, flags, 0); }
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    return vg_stream_destroy((vg_stream *)stream) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return known(stream); }

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return known(stream);
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority)
{
    *priority = vg_stream_priority(stream);
    return known(stream);
}

cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned *flags)
{
    *flags = vg_stream_flags(stream);
    return known(stream);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    return vg_event_known((vg_event *)event) ? known(stream) : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *capture)
{
    *capture = cudaStreamCaptureStatusNone;
    return known(stream);
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *capture, unsigned long long *id, cudaGraph_t *graph,
                                     const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges, size_t *node_count)
{
    (void)id, (void)graph, (void)nodes, (void)edges, (void)node_count; /* not written unless a capture is under way */
    return cudaStreamIsCapturing(stream, capture);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode)
{
    static _Thread_local enum cudaStreamCaptureMode own = cudaStreamCaptureModeGlobal;
    enum cudaStreamCaptureMode former = own;
    own = *mode;
    *mode = former;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = (cudaEvent_t)vg_event_create(flags);
    return *event ? cudaSuccess : done(cudaErrorMemoryAllocation);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return vg_event_destroy((vg_event *)event) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags)
{
    (void)flags;
    return vg_stream_known(stream) && vg_event_record((vg_event *)event) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { return cudaEventRecordWithFlags(event, stream, 0); }

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return vg_event_known((vg_event *)event) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return cudaEventQuery(event);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    int64_t elapsed_ns = 0;
    if (!vg_event_elapsed_ns((vg_event *)start, (vg_event *)end, &elapsed_ns))
        return done(cudaErrorInvalidResourceHandle);
    *milliseconds = (float)elapsed_ns * 1e-6f;
    return cudaSuccess;
}

/* ---- the way to the driver ------------------------------------------------------------------------------------------------ */

/* The driver's interface is versioned by suffix; the newest suffix that exists is what a current header would have chosen. */
cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version, unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *result)
{
    (void)version, (void)flags;
    *function = NULL;
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    static const char *const suffixes[] = {"_v3", "_v2", ""};
    for (size_t i = 0; driver != NULL && *function == NULL && i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", symbol, suffixes[i]);
        *function = dlsym(driver, name);
    }
    if (driver != NULL)
        dlclose(driver);
    if (result != NULL)
        *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
