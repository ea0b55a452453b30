/* What the files of libcuda share: how they answer. */
#ifndef VRAMGUARD_DRIVER_H
#define VRAMGUARD_DRIVER_H

#include "core.h"

#include <cuda.h>

static inline CUresult status(vg_status outcome)
{
    switch (outcome) {
    case VG_OK: return CUDA_SUCCESS;
    case VG_OUT_OF_MEMORY: return CUDA_ERROR_OUT_OF_MEMORY;
    case VG_HOST_EXHAUSTED: return (CUresult)vg_refuse("more memory than this host can give", CUDA_ERROR_OUT_OF_MEMORY);
    case VG_BAD_ADDRESS: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_ERROR_UNKNOWN;
}

static inline CUresult any_device(void) { return vg_card_count() > 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE; }
static inline bool device_known(CUdevice device) { return device >= 0 && device < vg_card_count(); }

static inline CUcontext context_of(CUdevice device) { return (CUcontext)(uintptr_t)(0x100 + device); }
static inline CUdevice device_of(CUcontext context) { return (CUdevice)((uintptr_t)context - 0x100); }

#endif
