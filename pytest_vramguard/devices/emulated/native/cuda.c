/* libcuda: the CUDA driver, in terms of the books in core.h. Here: initialisation, errors, devices, contexts and entry points.
 *
 * One context for each card, always there.
 */
#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

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

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    *flags = 0;
    *active = vg_in_use(device);
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
    return status(vg_synchronise());
}

/* ---- entry points --------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *symbol;
    const char *form; /* its name in the library */
    int since;        /* CUDA release, as in 12030 */
} versioned_form;

/* Forms that came after CUDA 12.0: an older caller must get the one before, which has other arguments.
 * Source: the types PFN_<function>_v<release> in cudaTypedefs.h of CUDA 12.9 and 13.0. */
static const versioned_form late_forms[] = {
    {"cuCtxCreate", "cuCtxCreate_v4", 12050},
    {"cuCtxGetDevice", "cuCtxGetDevice_v2", 13000},
    {"cuCtxSynchronize", "cuCtxSynchronize_v2", 13000},
    {"cuEventElapsedTime", "cuEventElapsedTime_v2", 12080},
    {"cuGraphAddDependencies", "cuGraphAddDependencies_v2", 12030},
    {"cuGraphAddNode", "cuGraphAddNode_v2", 12030},
    {"cuGraphGetEdges", "cuGraphGetEdges_v2", 12030},
    {"cuGraphNodeGetDependencies", "cuGraphNodeGetDependencies_v2", 12030},
    {"cuGraphNodeGetDependentNodes", "cuGraphNodeGetDependentNodes_v2", 12030},
    {"cuGraphRemoveDependencies", "cuGraphRemoveDependencies_v2", 12030},
    {"cuMemAdvise", "cuMemAdvise_v2", 12020},
    {"cuMemcpy3DBatchAsync", "cuMemcpy3DBatchAsync_v2", 13000},
    {"cuMemcpyBatchAsync", "cuMemcpyBatchAsync_v2", 13000},
    {"cuMemPrefetchAsync", "cuMemPrefetchAsync_v2", 12020},
    {"cuStreamGetCaptureInfo", "cuStreamGetCaptureInfo_v3", 12030},
    {"cuStreamGetCtx", "cuStreamGetCtx_v2", 12050},
    {"cuStreamUpdateCaptureDependencies", "cuStreamUpdateCaptureDependencies_v2", 12030},
};

static bool too_new(const char *symbol, const char *form, int release)
{
    for (size_t i = 0; i < sizeof late_forms / sizeof late_forms[0]; i++)
        if (strcmp(late_forms[i].symbol, symbol) == 0 && strcmp(late_forms[i].form, form) == 0)
            return release < late_forms[i].since;
    return false;
}

/* The newest form of a function that `release` knew: the interface is versioned by suffix. */
static void *own_symbol(const char *symbol, int release)
{
    static const char *const suffixes[] = {"_v4", "_v3", "_v2", ""};
    void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    void *function = NULL;
    for (size_t i = 0; self != NULL && function == NULL && i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char form[128];
        snprintf(form, sizeof form, "%s%s", symbol, suffixes[i]);
        if (!too_new(symbol, form, release))
            function = dlsym(self, form);
    }
    if (self != NULL)
        dlclose(self);
    return function;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *result)
{
    (void)flags;
    *function = own_symbol(symbol, version);
    if (result != NULL)
        *result = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
