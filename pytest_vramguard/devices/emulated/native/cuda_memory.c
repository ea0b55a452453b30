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
