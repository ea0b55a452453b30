/* libcublas: handles and their settings. Computations on device memory are counted by stubs (see build.py); nothing is computed.
 *
 * The few types are declared here because cuBLAS's headers come only with libraries of hundreds of megabytes.
 * Source of values and signatures: cuBLAS 13.0 documentation, sections "cuBLAS Datatypes Reference" and "Helper Functions".
 */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef int status; /* cublasStatus_t */
#define SUCCESS 0
#define NOT_INITIALIZED 1
#define ALLOC_FAILED 3
#define INVALID_VALUE 7
#define EXECUTION_FAILED 13
#define NOT_SUPPORTED 15
#define POINTER_MODE_DEVICE 1

typedef struct context {
    void *stream;
    int pointer_mode, math_mode, atomics_mode, sm_count_target;
    struct context *next;
} context, *handle;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static handle handles; /* all that are live: a few */

static void take_lock(void) { pthread_mutex_lock(&lock); }
static void give_lock(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void survive_fork(void) { pthread_atfork(take_lock, give_lock, give_lock); }

status cublasCreate_v2(handle *created)
{
    handle made = calloc(1, sizeof(context));
    *created = made;
    if (made == NULL)
        return ALLOC_FAILED;
    take_lock();
    made->next = handles;
    handles = made;
    give_lock();
    return SUCCESS;
}

status cublasDestroy_v2(handle gone)
{
    take_lock();
    handle *link = &handles;
    while (*link != NULL && *link != gone)
        link = &(*link)->next;
    bool known = gone != NULL && *link == gone;
    if (known)
        *link = gone->next;
    give_lock();
    if (known)
        free(gone);
    return known ? SUCCESS : NOT_INITIALIZED;
}

/* A computation on the stream of its handle. The functions of the old interface have none: they work on the default stream.
 * Called by the stubs, which do not know whether their first argument is a handle; it is only compared. */
status vg_compute(const void *first_argument);
status vg_compute(const void *first_argument)
{
    take_lock();
    const context *own = handles;
    while (own != NULL && (const void *)own != first_argument)
        own = own->next;
    const void *stream = own != NULL ? own->stream : NULL;
    give_lock();
    return vg_submit(stream, &(vg_work){.kind = VG_COMPUTE}) == VG_OK ? SUCCESS : EXECUTION_FAILED;
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
    return vg_compute(own);
}

/* The fault number of these is on the host, unlike those of the other batched factorisations: it tells of arguments alone. */
static status solved(handle own, int *fault)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    *fault = 0;
    vg_count(VG_COMPUTE_CALLS, 1);
    return SUCCESS;
}

#define WITH_FAULT_ON_HOST(T)                                                                                                    \
    status cublas##T##getrsBatched(handle own, int transposed, int n, int columns, const void *a, int lda, const int *pivots,    \
                                   void *b, int ldb, int *fault, int count)                                                      \
    {                                                                                                                            \
        (void)transposed, (void)n, (void)columns, (void)a, (void)lda, (void)pivots, (void)b, (void)ldb, (void)count;             \
        return solved(own, fault);                                                                                               \
    }                                                                                                                            \
    status cublas##T##geqrfBatched(handle own, int m, int n, void *a, int lda, void *tau, int *fault, int count)                 \
    {                                                                                                                            \
        (void)m, (void)n, (void)a, (void)lda, (void)tau, (void)count;                                                            \
        return solved(own, fault);                                                                                               \
    }                                                                                                                            \
    status cublas##T##gelsBatched(handle own, int transposed, int m, int n, int columns, void *a, int lda, void *c, int ldc,     \
                                  int *fault, int *faults, int count)                                                            \
    {                                                                                                                            \
        (void)transposed, (void)m, (void)n, (void)columns, (void)a, (void)lda, (void)c, (void)ldc, (void)faults, (void)count;    \
        return solved(own, fault);                                                                                               \
    }

WITH_FAULT_ON_HOST(S)
WITH_FAULT_ON_HOST(D)
WITH_FAULT_ON_HOST(C)
WITH_FAULT_ON_HOST(Z)
