/* libcuda: the CUDA driver, in terms of the books in core.h.
 *
 * One context for each card, always there. Modules and functions are names: no machine code is loaded or run.
 */
#include "core.h"

#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static CUresult status(vg_status outcome)
{
    switch (outcome) {
    case VG_OK: return CUDA_SUCCESS;
    case VG_OUT_OF_MEMORY: return CUDA_ERROR_OUT_OF_MEMORY;
    case VG_HOST_EXHAUSTED: return (CUresult)vg_refuse("more memory than this host can give", CUDA_ERROR_OUT_OF_MEMORY);
    case VG_BAD_ADDRESS: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_ERROR_UNKNOWN;
}

static CUresult any_device(void) { return vg_card_count() > 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE; }
static bool device_known(CUdevice device) { return device >= 0 && device < vg_card_count(); }

/* ---- initialisation and errors ---------------------------------------------------------------------------------------------- */

CUresult cuInit(unsigned flags)
{
    (void)flags;
    return any_device();
}

CUresult cuDriverGetVersion(int *version)
{
    *version = vg_the_card()->driver_version;
    return CUDA_SUCCESS;
}

typedef struct {
    CUresult error;
    const char *name, *text;
} error_words;

static const error_words words[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported (by the emulated card)"},
};

static const error_words *words_of(CUresult error)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].error == error)
            return &words[i];
    static const error_words unknown = {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "CUDA error without a text on the emulated card"};
    return &unknown;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    *name = words_of(error)->name;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    *text = words_of(error)->text;
    return CUDA_SUCCESS;
}

/* The emulated driver writes no log, so a listener is accepted and never called. */
CUresult cuLogsRegisterCallback(CUlogsCallback callback, void *argument, CUlogsCallbackHandle *handle)
{
    (void)callback, (void)argument;
    if (handle != NULL)
        *handle = NULL;
    return CUDA_SUCCESS;
}

CUresult cuLogsUnregisterCallback(CUlogsCallbackHandle handle)
{
    (void)handle;
    return CUDA_SUCCESS;
}

/* ---- devices and contexts --------------------------------------------------------------------------------------------------- */

CUresult cuDeviceGetCount(int *count)
{
    *count = vg_card_count();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    *device = ordinal;
    return device_known(ordinal) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetName(char *name, int capacity, CUdevice device)
{
    if (!device_known(device) || capacity < 1)
        return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, (size_t)capacity, "%s", vg_the_card()->name);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
    if (!device_known(device))
        return CUDA_ERROR_INVALID_DEVICE;
    vg_uuid(device, (unsigned char *)uuid->bytes);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *total_bytes, CUdevice device)
{
    *total_bytes = vg_the_card()->total_bytes;
    return device_known(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    if (!device_known(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (vg_attribute((int)attribute, device, value))
        return CUDA_SUCCESS;
    char name[48];
    snprintf(name, sizeof name, "cuDeviceGetAttribute(%d)", (int)attribute);
    return (CUresult)vg_refuse(name, CUDA_ERROR_NOT_SUPPORTED);
}

static CUcontext context_of(CUdevice device) { return (CUcontext)(uintptr_t)(0x100 + device); }
static CUdevice device_of(CUcontext context) { return (CUdevice)((uintptr_t)context - 0x100); }

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    *flags = 0;
    *active = 1;
    return device_known(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    *context = context_of(device);
    return device_known(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { return device_known(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE; }

CUresult cuCtxGetCurrent(CUcontext *context)
{
    *context = vg_card_count() > 0 ? context_of(vg_current_device()) : NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    return context == NULL || vg_set_current_device(device_of(context)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    *device = vg_current_device();
    return any_device();
}

CUresult cuCtxSynchronize(void)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return CUDA_SUCCESS;
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    vg_usage usage = vg_usage_of(vg_current_device());
    *total_bytes = usage.total_bytes;
    *free_bytes = usage.total_bytes - usage.used_bytes - usage.managed_bytes;
    return any_device();
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size_bytes)
{
    if (any_device() != CUDA_SUCCESS)
        return any_device();
    if (size_bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    return status(vg_allocate(VG_DEVICE, vg_current_device(), size_bytes, (void **)address));
}

CUresult cuMemFree_v2(CUdeviceptr address) { return status(vg_release(VG_DEVICE, (void *)address)); }

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size_bytes) { return status(vg_copy((void *)to, from, size_bytes)); }
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size_bytes) { return status(vg_copy(to, (void *)from, size_bytes)); }

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size_bytes, CUstream stream)
{
    (void)stream;
    return cuMemcpyHtoD_v2(to, from, size_bytes);
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size_bytes, CUstream stream)
{
    (void)stream;
    return cuMemcpyDtoH_v2(to, from, size_bytes);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
    (void)stream;
    return status(vg_fill((void *)to, &value, sizeof value, count));
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream)
{
    (void)stream;
    if (count > SIZE_MAX / sizeof value)
        return CUDA_ERROR_INVALID_VALUE;
    return status(vg_fill((void *)to, &value, sizeof value, count * sizeof value));
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size_bytes, CUdeviceptr address)
{
    vg_region region;
    if (!vg_find((void *)address, &region))
        return CUDA_ERROR_NOT_FOUND;
    if (base != NULL)
        *base = region.base;
    if (size_bytes != NULL)
        *size_bytes = region.size_bytes;
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *value, CUpointer_attribute attribute, CUdeviceptr address)
{
    vg_region region;
    if (!vg_find((void *)address, &region))
        return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)value = address; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)value = region.device; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)value = context_of(region.device); return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(unsigned *)value = region.kind == VG_MANAGED; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(CUdeviceptr *)value = region.base; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)value = region.size_bytes; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)value = region.kind == VG_DEVICE ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        return CUDA_SUCCESS;
    default: return (CUresult)vg_refuse("cuPointerGetAttribute", CUDA_ERROR_NOT_SUPPORTED);
    }
}

/* ---- code and launches ---------------------------------------------------------------------------------------------------- */

/* A module is a heap block; its functions are blocks of their own that live as long as the process, as kernels' handles do in
 * Triton's and torch's caches. */
static CUresult named_handle(void **handle)
{
    *handle = malloc(16);
    return *handle ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    (void)image;
    return named_handle((void **)module);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned option_count, CUjit_option *options, void **values)
{
    (void)option_count, (void)options, (void)values;
    return cuModuleLoadData(module, image);
}

/* Inductor leaves the machine code of its Triton kernels in files, and loads them by name. */
CUresult cuModuleLoad(CUmodule *module, const char *path)
{
    if (access(path, R_OK) != 0)
        return CUDA_ERROR_FILE_NOT_FOUND;
    return cuModuleLoadData(module, NULL);
}

CUresult cuModuleUnload(CUmodule module)
{
    free(module);
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    (void)module, (void)name;
    return named_handle((void **)function);
}

static CUresult function_attribute(int *value, CUfunction_attribute attribute)
{
    const vg_card *card = vg_the_card();
    switch (attribute) { /* registers and spills are unknown here, see cudaFuncGetAttributes in cudart.c */
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = card->major * 10 + card->minor; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = 48 * 1024; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = 0; return CUDA_SUCCESS;
    default: return (CUresult)vg_refuse("cuFuncGetAttribute", CUDA_ERROR_NOT_SUPPORTED);
    }
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    (void)function;
    return function_attribute(value, attribute);
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    (void)function;
    int most = vg_the_card()->shared_memory_per_block_optin_bytes;
    bool too_much = attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES && value > most;
    return too_much ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache preference)
{
    (void)function, (void)preference;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared_bytes, CUstream stream, void **arguments, void **extra)
{
    (void)function, (void)shared_bytes, (void)stream, (void)arguments, (void)extra;
    if (any_device() != CUDA_SUCCESS)
        return any_device();
    const unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
    return vg_launch(grid, block) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *configuration, CUfunction function, void **arguments, void **extra)
{
    const CUlaunchConfig *is = configuration;
    return cuLaunchKernel(function, is->gridDimX, is->gridDimY, is->gridDimZ, is->blockDimX, is->blockDimY, is->blockDimZ,
                          is->sharedMemBytes, is->hStream, arguments, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                   unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **arguments)
{
    return cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, arguments, NULL);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int block_threads, size_t shared_bytes)
{
    (void)function;
    *blocks = vg_resident_blocks(block_threads, shared_bytes);
    return *blocks >= 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- streams and events --------------------------------------------------------------------------------------------------- */

static CUresult known(CUstream stream) { return vg_stream_known(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    *stream = (CUstream)vg_stream_create(flags, 0);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuStreamDestroy_v2(CUstream stream) { return vg_stream_destroy((vg_stream *)stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

CUresult cuStreamSynchronize(CUstream stream)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return known(stream);
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    (void)flags;
    return vg_event_known((vg_event *)event) ? known(stream) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *capture)
{
    *capture = CU_STREAM_CAPTURE_STATUS_NONE;
    return known(stream);
}

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    *event = (CUevent)vg_event_create(flags);
    return *event ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuEventDestroy_v2(CUevent event) { return vg_event_destroy((vg_event *)event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return vg_stream_known(stream) && vg_event_record((vg_event *)event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventSynchronize(CUevent event)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return vg_event_known((vg_event *)event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* ---- entry points --------------------------------------------------------------------------------------------------------- */

static void *own_symbol(const char *symbol)
{
    static const char *const suffixes[] = {"_v3", "_v2", ""};
    void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    void *function = NULL;
    for (size_t i = 0; self != NULL && function == NULL && i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", symbol, suffixes[i]);
        function = dlsym(self, name);
    }
    if (self != NULL)
        dlclose(self);
    return function;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *result)
{
    (void)version, (void)flags;
    *function = own_symbol(symbol);
    if (result != NULL)
        *result = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
