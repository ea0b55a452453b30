/* libcuda: streams and events. */
#include "driver.h"

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    *stream = (CUstream)vg_stream_create(flags, 0);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuStreamDestroy_v2(CUstream stream) { return vg_stream_destroy((vg_stream *)stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

CUresult cuStreamSynchronize(CUstream stream) { return status(vg_stream_synchronise(stream)); }

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    (void)flags;
    return status(vg_stream_wait(stream, (vg_event *)event));
}

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    *event = (CUevent)vg_event_create(flags);
    return *event ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuEventDestroy_v2(CUevent event) { return vg_event_destroy((vg_event *)event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return status(vg_event_record((vg_event *)event, stream));
}

CUresult cuEventSynchronize(CUevent event) { return status(vg_event_synchronise((vg_event *)event)); }
