/* libcudart: stream capture and graphs. Graphs come of captures alone; building one node by node is refused by name. */
#include "runtime.h"

#include <string.h>

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    return status(vg_capture_begin(stream, (vg_capture_mode)mode));
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    return status(vg_capture_end(stream, (vg_graph **)graph));
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *capture)
{
    vg_capture_state state;
    cudaError_t error = status(vg_capture_of(stream, &state, NULL, NULL));
    *capture = (enum cudaStreamCaptureStatus)state;
    return error;
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *capture, unsigned long long *id, cudaGraph_t *graph,
                                     const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges, size_t *node_count)
{
    vg_capture_state state;
    uint64_t found = 0;
    cudaError_t error = status(vg_capture_of(stream, &state, &found, (vg_graph **)graph));
    *capture = (enum cudaStreamCaptureStatus)state;
    if (state != VG_CAPTURE_ACTIVE)
        return error;
    vg_node **last;
    size_t count;
    vg_capture_dependencies(stream, &last, &count);
    if (id != NULL)
        *id = found;
    if (nodes != NULL)
        *nodes = (const cudaGraphNode_t *)last;
    if (edges != NULL)
        *edges = NULL; /* all are ordinary */
    if (node_count != NULL)
        *node_count = count;
    return error;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode)
{
    *mode = (enum cudaStreamCaptureMode)vg_capture_exchange_mode((vg_capture_mode)*mode);
    return cudaSuccess;
}

/* Hands out `there` nodes into the caller's room of `*count`, whose rest is set to null; without room, says how many there are. */
static cudaError_t hand_out(vg_node **found, size_t there, cudaGraphNode_t *nodes, size_t *count)
{
    size_t room = *count;
    *count = nodes == NULL || there < room ? there : room;
    for (size_t i = 0; nodes != NULL && i < room; i++)
        nodes[i] = i < there ? (cudaGraphNode_t)found[i] : NULL;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    vg_node **found;
    size_t there;
    return vg_graph_nodes((vg_graph *)graph, &found, &there) ? hand_out(found, there, nodes, count) : done(cudaErrorInvalidValue);
}

cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t node, cudaGraphNode_t *nodes, cudaGraphEdgeData *edges, size_t *count)
{
    vg_node **found;
    size_t there;
    if (!vg_node_dependencies((vg_node *)node, &found, &there))
        return done(cudaErrorInvalidValue);
    if (edges != NULL)
        memset(edges, 0, *count * sizeof *edges); /* all are ordinary */
    return hand_out(found, there, nodes, count);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return vg_graph_destroy((vg_graph *)graph) ? cudaSuccess : done(cudaErrorInvalidValue); }

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags)
{
    (void)flags;
    *executable = (cudaGraphExec_t)vg_graph_instantiate((vg_graph *)graph);
    return *executable != NULL ? cudaSuccess : done(cudaErrorInvalidValue);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags)
{
    return cudaGraphInstantiateWithFlags(executable, graph, flags);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    return status(vg_graph_launch((vg_graph *)executable, stream));
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream)
{
    vg_node **nodes;
    size_t count;
    if (!vg_graph_nodes((vg_graph *)executable, &nodes, &count))
        return done(cudaErrorInvalidValue);
    return vg_stream_known(stream) ? cudaSuccess : done(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    return vg_graph_destroy((vg_graph *)executable) ? cudaSuccess : done(cudaErrorInvalidValue);
}
