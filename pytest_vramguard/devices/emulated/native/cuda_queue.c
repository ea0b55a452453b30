/* libcuda: streams and events. */
#include "driver.h"

static CUresult known(CUstream stream) { return vg_stream_known(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    *stream = (CUstream)vg_stream_create(flags, 0);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuStreamDestroy_v2(CUstream stream) { return vg_stream_destroy((vg_stream *)stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

CUresult cuStreamSynchronize(CUstream stream)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return known(stream);
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    (void)flags;
    return vg_event_known((vg_event *)event) ? known(stream) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *capture)
{
    *capture = CU_STREAM_CAPTURE_STATUS_NONE;
    return known(stream);
}

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    *event = (CUevent)vg_event_create(flags);
    return *event ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuEventDestroy_v2(CUevent event) { return vg_event_destroy((vg_event *)event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return vg_stream_known(stream) && vg_event_record((vg_event *)event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventSynchronize(CUevent event)
{
    vg_count(VG_SYNCHRONISATIONS, 1);
    return vg_event_known((vg_event *)event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
