/* libcudart: memory and copies. */
#include "runtime.h"

#include <string.h>

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

/* Allocation and release may wait for the card, which a capture forbids. */
static cudaError_t allocate(vg_kind kind, void **address, size_t size_bytes)
{
    if (vg_card_count() == 0)
        return done(cudaErrorNoDevice);
    vg_status permitted = vg_may_wait();
    if (permitted != VG_OK)
        return status(permitted);
    return status(vg_allocate(kind, vg_current_device(), size_bytes, address));
}

cudaError_t cudaMalloc(void **address, size_t size_bytes)
{
    return allocate(VG_DEVICE, address, size_bytes);
}

static cudaError_t release(vg_kind kind, void *address)
{
    vg_status permitted = vg_may_wait();
    return status(permitted != VG_OK ? permitted : vg_release(kind, address));
}

cudaError_t cudaFree(void *address) { return release(VG_DEVICE, address); }

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
cudaError_t cudaFreeHost(void *address) { return release(VG_PINNED, address); }

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

/* Advice and wishes about managed memory are taken for a range that is all of one region; where it resides is the ledger's rule. */
static cudaError_t about_managed(const void *address, size_t size_bytes)
{
    vg_region region;
    bool good = vg_find(address, &region) && region.kind == VG_MANAGED;
    return good && size_bytes <= region.base + region.size_bytes - (uintptr_t)address ? cudaSuccess : done(cudaErrorInvalidValue);
}

cudaError_t cudaMemPrefetchAsync(const void *address, size_t size_bytes, struct cudaMemLocation location, unsigned flags, cudaStream_t stream)
{
    (void)location, (void)flags;
    return vg_stream_known(stream) ? about_managed(address, size_bytes) : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaMemAdvise(const void *address, size_t size_bytes, enum cudaMemoryAdvise advice, struct cudaMemLocation location)
{
    (void)advice, (void)location;
    return about_managed(address, size_bytes);
}

/* ---- copies --------------------------------------------------------------------------------------------------------------- */

static cudaError_t copy(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t row_bytes, size_t rows, cudaStream_t stream)
{
    vg_work work = {.kind = VG_COPY, .to = to, .from = from, .to_pitch = to_pitch, .from_pitch = from_pitch, .row_bytes = row_bytes, .rows = rows};
    return status(vg_submit(stream, &work));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size_bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    (void)kind; /* unified addressing: the addresses say where they are */
    return copy(to, size_bytes, from, size_bytes, size_bytes, 1, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t size_bytes, enum cudaMemcpyKind kind)
{
    vg_status permitted = vg_may_wait();
    if (permitted == VG_OK)
        permitted = vg_stream_synchronise(NULL);
    return permitted == VG_OK ? cudaMemcpyAsync(to, from, size_bytes, kind, NULL) : status(permitted);
}

cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t size_bytes, cudaStream_t stream)
{
    (void)to_device, (void)from_device;
    return copy(to, size_bytes, from, size_bytes, size_bytes, 1, stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width_bytes, size_t height,
                              enum cudaMemcpyKind kind, cudaStream_t stream)
{
    (void)kind;
    if (width_bytes > to_pitch || width_bytes > from_pitch)
        return done(cudaErrorInvalidPitchValue);
    return copy(to, to_pitch, from, from_pitch, width_bytes, height, stream);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t size_bytes, cudaStream_t stream)
{
    unsigned char byte = (unsigned char)value;
    vg_work work = {.kind = VG_FILL, .to = to, .pattern = byte, .pattern_bytes = 1, .size_bytes = size_bytes};
    return status(vg_submit(stream, &work));
}

cudaError_t cudaMemset(void *to, int value, size_t size_bytes) { return cudaMemsetAsync(to, value, size_bytes, NULL); }
