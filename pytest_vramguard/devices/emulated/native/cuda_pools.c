/* libcuda: memory pools. */
#include "driver.h"

static CUresult given(CUmemoryPool *pool, vg_pool *found)
{
    *pool = (CUmemoryPool)found;
    return found != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult accepted(bool good) { return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device)
{
    return device_known(device) ? given(pool, vg_pool_default(device)) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device)
{
    return device_known(device) ? given(pool, vg_pool_current(device)) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool)
{
    return device_known(device) ? accepted(vg_pool_use(device, (vg_pool *)pool)) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *properties)
{
    if (properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return (CUresult)vg_refuse("cuMemPoolCreate of host memory", CUDA_ERROR_NOT_SUPPORTED);
    if (properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED || !device_known(properties->location.id))
        return CUDA_ERROR_INVALID_VALUE;
    return given(pool, vg_pool_create(properties->location.id, properties->maxSize));
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) { return accepted(vg_pool_destroy((vg_pool *)pool)); }
CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t kept_bytes) { return accepted(vg_pool_trim((vg_pool *)pool, kept_bytes)); }

/* Policies are ints, sizes are of 64 bits. */
static bool is_policy(CUmemPool_attribute attribute) { return attribute < CU_MEMPOOL_ATTR_RELEASE_THRESHOLD; }

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
    uint64_t found;
    if (!vg_pool_get((vg_pool *)pool, (vg_pool_attribute)attribute, &found))
        return CUDA_ERROR_INVALID_VALUE;
    if (is_policy(attribute))
        *(int *)value = (int)found;
    else
        *(cuuint64_t *)value = found;
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
    uint64_t wanted = is_policy(attribute) ? (uint64_t)*(int *)value : *(cuuint64_t *)value;
    return accepted(vg_pool_set((vg_pool *)pool, (vg_pool_attribute)attribute, wanted));
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t size_bytes, CUmemoryPool pool, CUstream stream)
{
    if (any_device() != CUDA_SUCCESS)
        return any_device();
    if (!vg_stream_known(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (vg_captured(stream)) /* it would become a node of the graph */
        return (CUresult)vg_refuse("cuMemAllocAsync under capture", CUDA_ERROR_NOT_SUPPORTED);
    return status(vg_pool_allocate((vg_pool *)pool, size_bytes, (void **)address));
}

CUresult cuMemAllocAsync(CUdeviceptr *address, size_t size_bytes, CUstream stream)
{
    return cuMemAllocFromPoolAsync(address, size_bytes, (CUmemoryPool)vg_pool_current(vg_current_device()), stream);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    if (!vg_stream_known(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (vg_captured(stream))
        return (CUresult)vg_refuse("cuMemFreeAsync under capture", CUDA_ERROR_NOT_SUPPORTED);
    return status(vg_release(VG_DEVICE, (void *)address));
}
