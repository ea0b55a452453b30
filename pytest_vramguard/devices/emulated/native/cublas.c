/* libcublas: handles and their settings. Computations on device memory are counted by stubs (see build.py); nothing is computed.
 *
 * The few types are declared here because cuBLAS's headers come only with libraries of hundreds of megabytes.
 * Source of values and signatures: cuBLAS 13.0 documentation, sections "cuBLAS Datatypes Reference" and "Helper Functions".
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

typedef int status; /* cublasStatus_t */
#define SUCCESS 0
#define NOT_INITIALIZED 1
#define ALLOC_FAILED 3
#define INVALID_VALUE 7
#define NOT_SUPPORTED 15
#define POINTER_MODE_DEVICE 1

typedef struct {
    void *stream;
    int pointer_mode, math_mode, atomics_mode, sm_count_target;
} context, *handle;

status cublasCreate_v2(handle *created)
{
    *created = calloc(1, sizeof(context));
    return *created ? SUCCESS : ALLOC_FAILED;
}

status cublasDestroy_v2(handle gone)
{
    free(gone);
    return gone ? SUCCESS : NOT_INITIALIZED;
}

#define SETTING(set_name, get_name, type, member)                                                                                \
    status set_name(handle own, type value)                                                                                      \
    {                                                                                                                            \
        if (own == NULL)                                                                                                         \
            return NOT_INITIALIZED;                                                                                              \
        own->member = value;                                                                                                     \
        return SUCCESS;                                                                                                          \
    }                                                                                                                            \
    status get_name(handle own, type *value)                                                                                     \
    {                                                                                                                            \
        if (own == NULL)                                                                                                         \
            return NOT_INITIALIZED;                                                                                              \
        *value = own->member;                                                                                                    \
        return SUCCESS;                                                                                                          \
    }

SETTING(cublasSetStream_v2, cublasGetStream_v2, void *, stream)
SETTING(cublasSetPointerMode_v2, cublasGetPointerMode_v2, int, pointer_mode)
SETTING(cublasSetMathMode, cublasGetMathMode, int, math_mode)
SETTING(cublasSetAtomicsMode, cublasGetAtomicsMode, int, atomics_mode)
SETTING(cublasSetSmCountTarget, cublasGetSmCountTarget, int, sm_count_target)

/* The workspace is the caller's memory and already in the books. */
status cublasSetWorkspace_v2(handle own, void *workspace, size_t size_bytes)
{
    (void)workspace, (void)size_bytes;
    return own ? SUCCESS : NOT_INITIALIZED;
}

status cublasGetVersion_v2(handle own, int *version)
{
    (void)own;
    *version = VG_CUDA_RELEASE * 10; /* major * 10000 + minor * 100 + patch */
    return SUCCESS;
}

status cublasGetProperty(int property, int *value)
{
    const int versions[] = {VG_CUDA_RELEASE / 1000, VG_CUDA_RELEASE / 10 % 100, 0}; /* MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL */
    *value = property >= 0 && property <= 2 ? versions[property] : 0;
    return property >= 0 && property <= 2 ? SUCCESS : INVALID_VALUE;
}

const char *cublasGetStatusName(status code) { return code == SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_NOT_SUPPORTED"; }
const char *cublasGetStatusString(status code) { return code == SUCCESS ? "success" : "not supported by the emulated card"; }

/* A sum over a vector is unknown here. Left on the card it is one more value that nobody computed; asked for on the host it would
 * be a lie. Called by the stubs of dot, nrm2, asum, amax, amin and the rotations. */
status vg_blas_reduction(handle own, const char *name);
status vg_blas_reduction(handle own, const char *name)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    if (own->pointer_mode != POINTER_MODE_DEVICE)
        return vg_refuse(name, NOT_SUPPORTED);
    vg_count(VG_COMPUTE_CALLS, 1);
    return SUCCESS;
}
