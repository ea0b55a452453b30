/* libcuda: memory and copies. */
#include "driver.h"

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

static CUresult copy(void *to, const void *from, size_t size_bytes, CUstream stream)
{
    vg_work work = {.kind = VG_COPY, .to = to, .from = from, .to_pitch = size_bytes, .from_pitch = size_bytes, .row_bytes = size_bytes, .rows = 1};
    return status(vg_submit(stream, &work));
}

/* A synchronous copy waits for the default stream. */
static CUresult copy_and_wait(void *to, const void *from, size_t size_bytes)
{
    vg_status permitted = vg_may_wait();
    if (permitted == VG_OK)
        permitted = vg_stream_synchronise(NULL);
    return permitted == VG_OK ? copy(to, from, size_bytes, NULL) : status(permitted);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size_bytes) { return copy_and_wait((void *)to, from, size_bytes); }
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size_bytes) { return copy_and_wait(to, (void *)from, size_bytes); }

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size_bytes, CUstream stream)
{
    return copy((void *)to, from, size_bytes, stream);
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size_bytes, CUstream stream)
{
    return copy(to, (void *)from, size_bytes, stream);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size_bytes, CUstream stream)
{
    return copy((void *)to, (void *)from, size_bytes, stream);
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t size_bytes, CUstream stream)
{
    return copy((void *)to, (void *)from, size_bytes, stream);
}

static CUresult fill(CUdeviceptr to, unsigned pattern, size_t pattern_bytes, size_t count, CUstream stream)
{
    if (count > SIZE_MAX / pattern_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    vg_work work = {.kind = VG_FILL, .to = (void *)to, .pattern = pattern, .pattern_bytes = (unsigned)pattern_bytes, .size_bytes = count * pattern_bytes};
    return status(vg_submit(stream, &work));
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) { return fill(to, value, 1, count, stream); }
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) { return fill(to, value, 2, count, stream); }
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) { return fill(to, value, 4, count, stream); }

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
