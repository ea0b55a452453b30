/* libcudart of CUDA 12: the older forms of functions that CUDA 13 changed, in terms of the present ones (see cuda12.h). */
#include "runtime.h"

#include <stddef.h>

#undef cudaEventElapsedTime
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    return cudaEventElapsedTime_v2(milliseconds, start, end);
}

#undef cudaMemPrefetchAsync
cudaError_t cudaMemPrefetchAsync(const void *address, size_t size_bytes, int device, cudaStream_t stream)
{
    bool to_host = device == cudaCpuDeviceId;
    struct cudaMemLocation location = {.type = to_host ? cudaMemLocationTypeHost : cudaMemLocationTypeDevice, .id = to_host ? 0 : device};
    return cudaMemPrefetchAsync_v2(address, size_bytes, location, 0, stream);
}

cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t stream, enum cudaStreamCaptureStatus *capture, unsigned long long *id, cudaGraph_t *graph,
                                        const cudaGraphNode_t **nodes, size_t *node_count)
{
    return cudaStreamGetCaptureInfo_v3(stream, capture, id, graph, nodes, NULL, node_count);
}

/* The driver's functions as they were in the release that the caller's runtime belongs to, which answers for it. */
cudaError_t cudaGetDriverEntryPoint(const char *symbol, void **function, unsigned long long flags, enum cudaDriverEntryPointQueryResult *result)
{
    return cudaGetDriverEntryPointByVersion(symbol, function, VG_CUDA_RELEASE, flags, result);
}
