/* libcublasLt: descriptors, and one algorithm without workspace for every problem. Nothing is computed.
 *
 * Descriptors are opaque to callers, so any heap block does. The caller brings the workspace, which is therefore in the books
 * whether an algorithm uses it or not.
 * Source of values and signatures: cuBLAS 13.0 documentation, "Using the cuBLASLt API".
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

typedef int status; /* cublasStatus_t */
#define SUCCESS 0
#define ALLOC_FAILED 3
#define INVALID_VALUE 7
#define EXECUTION_FAILED 13

static status create(void **descriptor)
{
    *descriptor = calloc(1, 64);
    return *descriptor ? SUCCESS : ALLOC_FAILED;
}

static status destroy(void *descriptor)
{
    free(descriptor);
    return SUCCESS;
}

/* An attribute shapes the computation, of which nothing is kept. */
static status accept(const void *descriptor, const void *value) { return descriptor && value ? SUCCESS : INVALID_VALUE; }

status cublasLtCreate(void **handle) { return create(handle); }
status cublasLtDestroy(void *handle) { return destroy(handle); }
size_t cublasLtGetVersion(void) { return VG_CUDA_RELEASE * 10; }

status cublasLtMatmulDescCreate(void **descriptor, int compute_type, int scale_type)
{
    (void)compute_type, (void)scale_type;
    return create(descriptor);
}

status cublasLtMatmulDescDestroy(void *descriptor) { return destroy(descriptor); }
status cublasLtMatmulDescSetAttribute(void *descriptor, int attribute, const void *value, size_t size_bytes)
{
    (void)attribute, (void)size_bytes;
    return accept(descriptor, value);
}

status cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride)
{
    (void)type, (void)rows, (void)columns, (void)stride;
    return create(layout);
}

status cublasLtMatrixLayoutDestroy(void *layout) { return destroy(layout); }
status cublasLtMatrixLayoutSetAttribute(void *layout, int attribute, const void *value, size_t size_bytes)
{
    (void)attribute, (void)size_bytes;
    return accept(layout, value);
}

status cublasLtMatmulPreferenceCreate(void **preference) { return create(preference); }
status cublasLtMatmulPreferenceDestroy(void *preference) { return destroy(preference); }
status cublasLtMatmulPreferenceSetAttribute(void *preference, int attribute, const void *value, size_t size_bytes)
{
    (void)attribute, (void)size_bytes;
    return accept(preference, value);
}

typedef struct {
    uint64_t algorithm[8]; /* cublasLtMatmulAlgo_t, opaque */
    size_t workspace_bytes;
    status state;
    float waves;
    int reserved[4];
} heuristic; /* cublasLtMatmulHeuristicResult_t */

status cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c, void *d, void *preference,
                                      int requested, heuristic results[], int *returned)
{
    (void)handle, (void)operation, (void)a, (void)b, (void)c, (void)d, (void)preference;
    if (requested < 1)
        return INVALID_VALUE;
    results[0] = (heuristic){.state = SUCCESS, .waves = 1.0f};
    *returned = 1;
    return SUCCESS;
}

status cublasLtMatmul(void *handle, void *operation, const void *alpha, const void *a, void *a_layout, const void *b, void *b_layout,
                      const void *beta, const void *c, void *c_layout, void *d, void *d_layout, const void *algorithm, void *workspace,
                      size_t workspace_bytes, void *stream)
{
    (void)handle, (void)operation, (void)alpha, (void)a, (void)a_layout, (void)b, (void)b_layout, (void)beta, (void)c, (void)c_layout;
    (void)d, (void)d_layout, (void)algorithm, (void)workspace, (void)workspace_bytes;
    return vg_submit(stream, &(vg_work){.kind = VG_COMPUTE}) == VG_OK ? SUCCESS : EXECUTION_FAILED;
}

const char *cublasLtGetStatusName(status code) { return code == SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_NOT_SUPPORTED"; }
const char *cublasLtGetStatusString(status code) { return code == SUCCESS ? "success" : "not supported by the emulated card"; }
