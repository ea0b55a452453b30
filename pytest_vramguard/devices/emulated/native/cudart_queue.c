/* libcudart: streams and events. */
#include "runtime.h"

static cudaError_t known(cudaStream_t stream) { return vg_stream_known(stream) ? cudaSuccess : done(cudaErrorInvalidResourceHandle); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    *stream = (cudaStream_t)vg_stream_create(flags, priority);
    return *stream ? cudaSuccess : done(cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) { return cudaStreamCreateWithPriority(stream, flags, 0); }
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    return vg_stream_destroy((vg_stream *)stream) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return known(stream); }

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return known(stream);
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority)
{
    *priority = vg_stream_priority(stream);
    return known(stream);
}

cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned *flags)
{
    *flags = vg_stream_flags(stream);
    return known(stream);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    return vg_event_known((vg_event *)event) ? known(stream) : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *capture)
{
    *capture = cudaStreamCaptureStatusNone;
    return known(stream);
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *capture, unsigned long long *id, cudaGraph_t *graph,
                                     const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges, size_t *node_count)
{
    (void)id, (void)graph, (void)nodes, (void)edges, (void)node_count; /* not written unless a capture is under way */
    return cudaStreamIsCapturing(stream, capture);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode)
{
    static _Thread_local enum cudaStreamCaptureMode own = cudaStreamCaptureModeGlobal;
    enum cudaStreamCaptureMode former = own;
    own = *mode;
    *mode = former;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = (cudaEvent_t)vg_event_create(flags);
    return *event ? cudaSuccess : done(cudaErrorMemoryAllocation);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return vg_event_destroy((vg_event *)event) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags)
{
    (void)flags;
    return vg_stream_known(stream) && vg_event_record((vg_event *)event) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { return cudaEventRecordWithFlags(event, stream, 0); }

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return vg_event_known((vg_event *)event) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return cudaEventQuery(event);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    int64_t elapsed_ns = 0;
    if (!vg_event_elapsed_ns((vg_event *)start, (vg_event *)end, &elapsed_ns))
        return done(cudaErrorInvalidResourceHandle);
    *milliseconds = (float)elapsed_ns * 1e-6f;
    return cudaSuccess;
}
