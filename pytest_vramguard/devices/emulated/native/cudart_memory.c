/* libcudart: memory and copies. */
#include "runtime.h"

#include <string.h>

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
