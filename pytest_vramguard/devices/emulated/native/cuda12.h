/* The names that CUDA 12 gives to the forms of CUDA 13.
 *
 * The files of libcudart are written in the forms of CUDA 13. A function whose form changed between the majors exists twice in
 * CUDA 12: the form that CUDA 13 has bears a suffix, and the plain name is the older form, which stands in cudart_12.c or is
 * refused. Included after the headers of CUDA 12 have declared both.
 * Source: cuda_runtime_api.h of CUDA 12.9 and 13.0.
 */
#ifndef VRAMGUARD_CUDA12_H
#define VRAMGUARD_CUDA12_H

#define cudaEventElapsedTime cudaEventElapsedTime_v2
#define cudaGraphAddDependencies cudaGraphAddDependencies_v2
#define cudaGraphAddNode cudaGraphAddNode_v2
#define cudaGraphGetEdges cudaGraphGetEdges_v2
#define cudaGraphNodeGetDependencies cudaGraphNodeGetDependencies_v2
#define cudaGraphNodeGetDependentNodes cudaGraphNodeGetDependentNodes_v2
#define cudaGraphRemoveDependencies cudaGraphRemoveDependencies_v2
#define cudaMemAdvise cudaMemAdvise_v2
#define cudaMemPrefetchAsync cudaMemPrefetchAsync_v2
#define cudaStreamUpdateCaptureDependencies cudaStreamUpdateCaptureDependencies_v2
/* The header itself renames this one, to the form without edges. */
#undef cudaStreamGetCaptureInfo
#define cudaStreamGetCaptureInfo cudaStreamGetCaptureInfo_v3

#endif
