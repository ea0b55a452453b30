/* libcuda: the CUDA driver, in terms of the books in core.h. Here: initialisation, errors, devices, contexts and entry points.
 *
 * One context for each card, always there.
 */
#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>

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
    vg_count(VG_SYNCHRONISATIONS, 1);
    return CUDA_SUCCESS;
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
