/* libcufft: plans and their work areas. A transform that is executed is counted; nothing is computed.
 *
 * A work area has one complex element for each element of the batch, or eight where a length has a prime factor above 127, which
 * is transformed by Bluestein's algorithm: the least and the most that NVIDIA names.
 * Source: cuFFT 13.0 documentation, "cuFFT and memory usage" ("8*batch*n[0]*..*n[rank-1]", "as low as 1*batch*n[0]*..*n[rank-1]
 * cufftComplex or cufftDoubleComplex elements") and "Accuracy and Performance" (Bluestein).
 */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>

typedef int status; /* cufftResult */
typedef int handle; /* cufftHandle */
#define SUCCESS 0
#define INVALID_PLAN 1
#define ALLOC_FAILED 2
#define INVALID_VALUE 4

#define LARGEST_DIRECT_PRIME 127

typedef struct {
    bool live, allocates;
    size_t work_bytes;
    void *work; /* allocated here, if the caller leaves that to the library */
} plan;

/* A handle is an index in this table plus one; entries are reused. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static plan *plans;
static int plan_count;

static plan *find(handle of) { return of >= 1 && of <= plan_count && plans[of - 1].live ? &plans[of - 1] : NULL; }

static handle fresh_plan(void)
{
    int index = 0;
    while (index < plan_count && plans[index].live)
        index++;
    if (index == plan_count) {
        plan *larger = realloc(plans, (size_t)(plan_count + 1) * sizeof *plans);
        if (larger == NULL)
            return 0;
        plans = larger;
        plan_count++;
    }
    plans[index] = (plan){.live = true, .allocates = true};
    return index + 1;
}

status cufftCreate(handle *created)
{
    pthread_mutex_lock(&guard);
    *created = fresh_plan();
    pthread_mutex_unlock(&guard);
    return *created ? SUCCESS : ALLOC_FAILED;
}

status cufftDestroy(handle gone)
{
    pthread_mutex_lock(&guard);
    plan *found = find(gone);
    if (found) {
        if (found->work)
            vg_release(VG_DEVICE, found->work);
        *found = (plan){0};
    }
    pthread_mutex_unlock(&guard);
    return found ? SUCCESS : INVALID_PLAN;
}

static bool known(handle of)
{
    pthread_mutex_lock(&guard);
    bool live = find(of) != NULL;
    pthread_mutex_unlock(&guard);
    return live;
}

status cufftSetStream(handle of, void *stream)
{
    (void)stream;
    return known(of) ? SUCCESS : INVALID_PLAN;
}

/* The work area is then the caller's memory and already in the books. */
status cufftSetWorkArea(handle of, void *work)
{
    (void)work;
    return known(of) ? SUCCESS : INVALID_PLAN;
}

status cufftSetAutoAllocation(handle of, int allocates)
{
    pthread_mutex_lock(&guard);
    plan *found = find(of);
    if (found)
        found->allocates = allocates != 0;
    pthread_mutex_unlock(&guard);
    return found ? SUCCESS : INVALID_PLAN;
}

static bool direct(long long length)
{
    for (long long prime = 2; prime <= LARGEST_DIRECT_PRIME; prime++)
        while (length > 1 && length % prime == 0)
            length /= prime;
    return length <= 1;
}

/* cudaDataType: CUDA_R_16F 2, CUDA_C_16F 6, CUDA_R_64F 1, CUDA_C_64F 5; the others are single precision. */
static size_t complex_bytes(int type) { return type == 2 || type == 6 ? 4 : type == 1 || type == 5 ? 16 : 8; }

static size_t work_bytes(int rank, const long long lengths[], long long batch, int type)
{
    size_t elements = (size_t)batch;
    bool all_direct = true;
    for (int axis = 0; axis < rank; axis++) {
        elements *= (size_t)lengths[axis];
        all_direct = all_direct && direct(lengths[axis]);
    }
    return elements * complex_bytes(type) * (all_direct ? 1 : 8);
}

static status plan_work(plan *of, size_t bytes)
{
    of->work_bytes = bytes;
    if (!of->allocates)
        return SUCCESS;
    return vg_allocate(VG_DEVICE, vg_current_device(), bytes, &of->work) == VG_OK ? SUCCESS : ALLOC_FAILED;
}

status cufftXtMakePlanMany(handle of, int rank, long long lengths[], long long *in_embed, long long in_stride, long long in_distance,
                           int in_type, long long *out_embed, long long out_stride, long long out_distance, int out_type,
                           long long batch, size_t *size_bytes, int type)
{
    (void)in_embed, (void)in_stride, (void)in_distance, (void)in_type, (void)out_embed, (void)out_stride, (void)out_distance;
    (void)out_type;
    if (rank < 1 || rank > 3 || batch < 1 || size_bytes == NULL)
        return INVALID_VALUE;
    *size_bytes = work_bytes(rank, lengths, batch, type);
    pthread_mutex_lock(&guard);
    plan *found = find(of);
    status result = found ? plan_work(found, *size_bytes) : INVALID_PLAN;
    pthread_mutex_unlock(&guard);
    return result;
}

status cufftGetSize(handle of, size_t *size_bytes)
{
    pthread_mutex_lock(&guard);
    plan *found = find(of);
    if (found)
        *size_bytes = found->work_bytes;
    pthread_mutex_unlock(&guard);
    return found ? SUCCESS : INVALID_PLAN;
}

status cufftXtExec(handle of, void *input, void *output, int direction)
{
    (void)input, (void)output, (void)direction;
    if (!known(of))
        return INVALID_PLAN;
    vg_count(VG_COMPUTE_CALLS, 1);
    return SUCCESS;
}

status cufftGetVersion(int *version)
{
    *version = VG_CUDA_RELEASE >= 13000 ? 12000 : 11400; /* major * 1000 + minor * 100 + patch; those of CUDA 13.0 and 12.9 */
    return SUCCESS;
}
