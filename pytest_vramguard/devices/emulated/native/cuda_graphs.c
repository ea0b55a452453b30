/* libcuda: stream capture and graphs, as in cudart_graphs.c. */
#include "driver.h"

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
    return status(vg_capture_begin(stream, (vg_capture_mode)mode));
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) { return status(vg_capture_end(stream, (vg_graph **)graph)); }

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *capture)
{
    vg_capture_state state;
    CUresult error = status(vg_capture_of(stream, &state, NULL, NULL));
    *capture = (CUstreamCaptureStatus)state;
    return error;
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    *mode = (CUstreamCaptureMode)vg_capture_exchange_mode((vg_capture_mode)*mode);
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long flags)
{
    (void)flags;
    *executable = (CUgraphExec)vg_graph_instantiate((vg_graph *)graph);
    return *executable != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) { return status(vg_graph_launch((vg_graph *)executable, stream)); }

static CUresult destroyed(vg_graph *graph) { return vg_graph_destroy(graph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }

CUresult cuGraphDestroy(CUgraph graph) { return destroyed((vg_graph *)graph); }
CUresult cuGraphExecDestroy(CUgraphExec executable) { return destroyed((vg_graph *)executable); }
