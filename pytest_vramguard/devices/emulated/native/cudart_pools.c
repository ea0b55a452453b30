/* libcudart: memory pools, and allocation in the order of a stream. */
#include "runtime.h"

static cudaError_t given(cudaMemPool_t *pool, vg_pool *found)
{
    *pool = (cudaMemPool_t)found;
    return found != NULL ? cudaSuccess : done(cudaErrorMemoryAllocation);
}

static cudaError_t accepted(bool good) { return good ? cudaSuccess : done(cudaErrorInvalidValue); }

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device)
{
    return device_known(device) ? given(pool, vg_pool_default(device)) : about(device);
}

cudaError_t cudaDeviceGetMemPool(cudaMemPool_t *pool, int device)
{
    return device_known(device) ? given(pool, vg_pool_current(device)) : about(device);
}

cudaError_t cudaDeviceSetMemPool(int device, cudaMemPool_t pool)
{
    return device_known(device) ? accepted(vg_pool_use(device, (vg_pool *)pool)) : about(device);
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const struct cudaMemPoolProps *properties)
{
    if (properties->location.type != cudaMemLocationTypeDevice)
        return refuse("cudaMemPoolCreate of host memory");
    if (properties->allocType != cudaMemAllocationTypePinned || !device_known(properties->location.id))
        return done(cudaErrorInvalidValue);
    return given(pool, vg_pool_create(properties->location.id, properties->maxSize));
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) { return accepted(vg_pool_destroy((vg_pool *)pool)); }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t kept_bytes) { return accepted(vg_pool_trim((vg_pool *)pool, kept_bytes)); }

/* Policies are ints, sizes are of 64 bits. */
static bool is_policy(enum cudaMemPoolAttr attribute) { return attribute < cudaMemPoolAttrReleaseThreshold; }

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value)
{
    uint64_t found;
    if (!vg_pool_get((vg_pool *)pool, (vg_pool_attribute)attribute, &found))
        return done(cudaErrorInvalidValue);
    if (is_policy(attribute))
        *(int *)value = (int)found;
    else
        *(uint64_t *)value = found;
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value)
{
    uint64_t wanted = is_policy(attribute) ? (uint64_t)*(int *)value : *(uint64_t *)value;
    return accepted(vg_pool_set((vg_pool *)pool, (vg_pool_attribute)attribute, wanted));
}

cudaError_t cudaMallocFromPoolAsync(void **address, size_t size_bytes, cudaMemPool_t pool, cudaStream_t stream)
{
    if (vg_card_count() == 0)
        return done(cudaErrorNoDevice);
    if (!vg_stream_known(stream))
        return done(cudaErrorInvalidResourceHandle);
    if (vg_captured(stream)) /* it would become a node of the graph */
        return refuse("cudaMallocAsync under capture");
    return status(vg_pool_allocate((vg_pool *)pool, size_bytes, address));
}

cudaError_t cudaMallocAsync(void **address, size_t size_bytes, cudaStream_t stream)
{
    return cudaMallocFromPoolAsync(address, size_bytes, (cudaMemPool_t)vg_pool_current(vg_current_device()), stream);
}

cudaError_t cudaFreeAsync(void *address, cudaStream_t stream)
{
    if (!vg_stream_known(stream))
        return done(cudaErrorInvalidResourceHandle);
    return vg_captured(stream) ? refuse("cudaFreeAsync under capture") : status(vg_release(VG_DEVICE, address));
}

/* Memory of graphs' own allocation nodes, which are refused: there is none. */
cudaError_t cudaDeviceGetGraphMemAttribute(int device, enum cudaGraphMemAttributeType attribute, void *value)
{
    (void)attribute;
    *(uint64_t *)value = 0;
    return about(device);
}

cudaError_t cudaDeviceSetGraphMemAttribute(int device, enum cudaGraphMemAttributeType attribute, void *value)
{
    bool reset = attribute == cudaGraphMemAttrUsedMemHigh || attribute == cudaGraphMemAttrReservedMemHigh;
    return reset && *(uint64_t *)value == 0 ? about(device) : done(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceGraphMemTrim(int device) { return about(device); }
