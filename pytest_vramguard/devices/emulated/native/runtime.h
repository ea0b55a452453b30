/* What the files of libcudart share: how they answer. */
#ifndef VRAMGUARD_RUNTIME_H
#define VRAMGUARD_RUNTIME_H

#include "core.h"

#include <cuda_runtime_api.h>

#if CUDART_VERSION < 13000
#include "cuda12.h"
#endif

extern _Thread_local cudaError_t last_error;

static inline cudaError_t done(cudaError_t error)
{
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

static inline cudaError_t status(vg_status outcome)
{
    switch (outcome) {
    case VG_OK: return cudaSuccess;
    case VG_OUT_OF_MEMORY: return done(cudaErrorMemoryAllocation);
    case VG_HOST_EXHAUSTED: return done((cudaError_t)vg_refuse("more memory than this host can give", cudaErrorMemoryAllocation));
    case VG_BAD_ADDRESS: return done(cudaErrorInvalidValue);
    default: return done((cudaError_t)outcome);
    }
}

static inline cudaError_t refuse(const char *name)
{
    return done((cudaError_t)vg_refuse(name, cudaErrorNotSupported));
}

/* Of device functions, which have the address of a function of the host: what binary one comes from, and for which version of
 * cards (86 for 8.6) the code was built that a card of version `card` would run; `card` itself where that is not known. */
void vg_register_function(const void *function, void **binary);
int vg_built_for(const void *function, int card);

static inline bool device_known(int device)
{
    return device >= 0 && device < vg_card_count();
}

/* The error, if any, of a call about a device. */
static inline cudaError_t about(int device)
{
    if (vg_card_count() == 0)
        return done(cudaErrorNoDevice);
    return device_known(device) ? cudaSuccess : done(cudaErrorInvalidDevice);
}

#endif
