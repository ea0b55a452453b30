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

cudaError_t cudaStreamQuery(cudaStream_t stream) { return status(vg_stream_query(stream)); }

cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return status(vg_stream_synchronise(stream)); }

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
    return status(vg_stream_wait(stream, (vg_event *)event));
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
    return status(vg_event_record((vg_event *)event, stream));
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { return cudaEventRecordWithFlags(event, stream, 0); }

cudaError_t cudaEventQuery(cudaEvent_t event) { return status(vg_event_query((vg_event *)event)); }

cudaError_t cudaEventSynchronize(cudaEvent_t event) { return status(vg_event_synchronise((vg_event *)event)); }

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    int64_t elapsed_ns = 0;
    vg_status timed = vg_event_elapsed_ns((vg_event *)start, (vg_event *)end, &elapsed_ns);
    if (timed != VG_OK)
        return status(timed);
    *milliseconds = (float)elapsed_ns * 1e-6f;
    return cudaSuccess;
}
