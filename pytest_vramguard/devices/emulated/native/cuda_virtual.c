/* libcuda: virtual memory, that is address ranges and the physical memory mapped into them.
 *
 * Handles for other processes (export, import, multicast) are refused under their own names.
 */
#include "driver.h"

static bool on_a_device(const CUmemLocation *location)
{
    return location->type == CU_MEM_LOCATION_TYPE_DEVICE && device_known(location->id);
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *properties, CUmemAllocationGranularity_flags option)
{
    (void)option; /* minimum and recommended are the same */
    *granularity = VG_GRANULE_BYTES;
    return on_a_device(&properties->location) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAddressReserve(CUdeviceptr *address, size_t size_bytes, size_t alignment, CUdeviceptr hint, unsigned long long flags)
{
    (void)hint; /* the driver may take another address, and this one takes the lowest that is free */
    if (any_device() != CUDA_SUCCESS)
        return any_device();
    return flags != 0 ? CUDA_ERROR_INVALID_VALUE : status(vg_reserve(size_bytes, alignment, (void **)address));
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t size_bytes) { return status(vg_unreserve((void *)address, size_bytes)); }

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size_bytes, const CUmemAllocationProp *properties, unsigned long long flags)
{
    if (properties->type != CU_MEM_ALLOCATION_TYPE_PINNED || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return (CUresult)vg_refuse("cuMemCreate of host memory", CUDA_ERROR_NOT_SUPPORTED);
    if (!on_a_device(&properties->location))
        return CUDA_ERROR_INVALID_DEVICE;
    return status(vg_create_memory(properties->location.id, size_bytes, (uint64_t *)handle));
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) { return status(vg_release_memory(handle)); }

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address)
{
    return status(vg_retain_memory(address, (uint64_t *)handle));
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *properties, CUmemGenericAllocationHandle handle)
{
    int device;
    if (!vg_memory_device(handle, &device))
        return CUDA_ERROR_INVALID_VALUE;
    *properties = (CUmemAllocationProp){
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
    };
    return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr address, size_t size_bytes, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    if (offset != 0 || flags != 0)
        return CUDA_ERROR_INVALID_VALUE; /* both "must be zero" in cuda.h */
    return status(vg_map((void *)address, size_bytes, handle));
}

CUresult cuMemUnmap(CUdeviceptr address, size_t size_bytes) { return status(vg_unmap((void *)address, size_bytes)); }

/* Memory is reachable once any card may reach it: copies do not say which card makes them. */
CUresult cuMemSetAccess(CUdeviceptr address, size_t size_bytes, const CUmemAccessDesc *wishes, size_t count)
{
    CUmemAccess_flags most = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    for (size_t i = 0; i < count; i++) {
        if (!on_a_device(&wishes[i].location))
            return CUDA_ERROR_INVALID_VALUE;
        most |= wishes[i].flags;
    }
    return count == 0 ? CUDA_ERROR_INVALID_VALUE : status(vg_set_access((void *)address, size_bytes, (vg_access)most));
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address)
{
    vg_access access;
    if (!on_a_device(location) || !vg_access_of((void *)address, &access))
        return CUDA_ERROR_INVALID_VALUE;
    *flags = (unsigned long long)access;
    return CUDA_SUCCESS;
}
