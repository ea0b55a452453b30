/* libcudnn: handles, tensor descriptors, and batch normalisation's workspace. The graph interface is in cudnn_graph.c.
 *
 * PyTorch runs convolutions and attention through the graph interface; the older one for convolutions is refused, and so are
 * recurrent networks, whose reserve NVIDIA keeps to itself. A descriptor is opaque to callers and nothing here reads one back but
 * a tensor's sizes, so the others keep nothing.
 */
#include "cudnn.h"

#include <stdlib.h>

#ifdef VG_CUDNN_8
#define NOT_INITIALIZED 1
#define MAJOR 8 /* 8.9.2, which torch 2.1 was built with */
#define MINOR 9
#define PATCH 2
#define VERSION (MAJOR * 1000 + MINOR * 100 + PATCH)
#else
#define NOT_INITIALIZED 1001
#define MAJOR 9 /* 9.24.0, which torch 2.14 was built with; PyTorch takes a newer minor for an older one */
#define MINOR 24
#define PATCH 0
#define VERSION (MAJOR * 10000 + MINOR * 100 + PATCH)
#endif
#define BATCHNORM_SPATIAL_PERSISTENT 2

typedef struct {
    void *stream;
} context, *handle;

size_t cudnnGetVersion(void) { return VERSION; }
size_t cudnnGetCudartVersion(void) { return VG_CUDA_RELEASE; }
size_t cudnnGetMaxDeviceVersion(void) { return 1210; } /* compute capability 12.1, as that version says */

status cudnnGetProperty(int property, int *value)
{
    static const int parts[] = {MAJOR, MINOR, PATCH}; /* libraryPropertyType */
    if (property < 0 || property > 2)
        return BAD_PARAM;
    *value = parts[property];
    return SUCCESS;
}

const char *cudnnGetErrorString(status code) { return code == SUCCESS ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_NOT_SUPPORTED"; }

status cudnnCreate(handle *created)
{
    if (vg_card_count() == 0)
        return NOT_INITIALIZED;
    *created = calloc(1, sizeof(context));
    return *created ? SUCCESS : ALLOC_FAILED;
}

status cudnnDestroy(handle gone)
{
    free(gone);
    return SUCCESS;
}

status cudnnSetStream(handle own, void *stream)
{
    if (own == NULL)
        return BAD_PARAM;
    own->stream = stream;
    return SUCCESS;
}

status cudnnGetStream(handle own, void **stream)
{
    if (own == NULL)
        return BAD_PARAM;
    *stream = own->stream;
    return SUCCESS;
}

status cudnnCreateTensorDescriptor(tensor **created)
{
    *created = calloc(1, sizeof **created);
    return *created ? SUCCESS : ALLOC_FAILED;
}

status cudnnDestroyTensorDescriptor(tensor *gone)
{
    free(gone);
    return SUCCESS;
}

status cudnnSetTensorNdDescriptor(tensor *described, int type, int dimensions, const int sizes[], const int strides[])
{
    if (described == NULL || dimensions < 1 || dimensions > MAX_DIMENSIONS)
        return BAD_PARAM;
    *described = (tensor){.type = type, .dimensions = dimensions};
    for (int axis = 0; axis < dimensions; axis++) {
        described->sizes[axis] = sizes[axis];
        described->strides[axis] = strides[axis];
    }
    return SUCCESS;
}

status cudnnGetTensorNdDescriptor(const tensor *described, int room, int *type, int *dimensions, int sizes[], int strides[])
{
    if (described == NULL)
        return BAD_PARAM;
    *type = described->type;
    *dimensions = described->dimensions;
    for (int axis = 0; axis < described->dimensions && axis < room; axis++) {
        sizes[axis] = (int)described->sizes[axis];
        strides[axis] = (int)described->strides[axis];
    }
    return SUCCESS;
}

static status create(void **created)
{
    *created = malloc(1);
    return *created ? SUCCESS : ALLOC_FAILED;
}

static status destroy(void *gone)
{
    free(gone);
    return SUCCESS;
}

status cudnnCreateActivationDescriptor(void **created) { return create(created); }
status cudnnDestroyActivationDescriptor(void *gone) { return destroy(gone); }
status cudnnSetActivationDescriptor(void *described, int mode, int nan, double coefficient)
{
    (void)mode, (void)nan, (void)coefficient;
    return described ? SUCCESS : BAD_PARAM;
}

status cudnnCreateSpatialTransformerDescriptor(void **created) { return create(created); }
status cudnnDestroySpatialTransformerDescriptor(void *gone) { return destroy(gone); }
status cudnnSetSpatialTransformerNdDescriptor(void *described, int sampler, int type, int dimensions, const int sizes[])
{
    (void)sampler, (void)type, (void)dimensions, (void)sizes;
    return described ? SUCCESS : BAD_PARAM;
}

/* Between the layers of a recurrent network; PyTorch makes one before it asks for the network, also where nothing is dropped.
 * One that drops has states, whose size nobody knows. */
status cudnnCreateDropoutDescriptor(void **created) { return create(created); }
status cudnnDestroyDropoutDescriptor(void *gone) { return destroy(gone); }
status cudnnSetDropoutDescriptor(void *described, handle own, float probability, void *states, size_t states_bytes,
                                 unsigned long long seed)
{
    (void)own, (void)probability, (void)states_bytes, (void)seed;
    if (states)
        return vg_refuse("cudnnSetDropoutDescriptor", NOT_SUPPORTED);
    return described ? SUCCESS : BAD_PARAM;
}

/* The persistent kernels for channels-last tensors meet in two fp32 sums for each channel; the others need nothing.
 * Source: cuDNN 9 API reference, cudnnBatchNormalizationForwardTrainingEx: workspace and reserve serve the NHWC kernels. */
static status batch_norm_workspace(int mode, const tensor *input, size_t *size_bytes)
{
    if (input == NULL || size_bytes == NULL)
        return BAD_PARAM;
    bool sums = mode == BATCHNORM_SPATIAL_PERSISTENT && input->dimensions > 1 && input->strides[1] == 1;
    *size_bytes = sums ? 2 * sizeof(float) * (size_t)input->sizes[1] : 0;
    return SUCCESS;
}

status cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(handle own, int mode, int operations, const tensor *input,
                                                                const tensor *addend, const tensor *output, const tensor *parameters,
                                                                void *activation, size_t *size_bytes)
{
    (void)own, (void)operations, (void)addend, (void)output, (void)parameters, (void)activation;
    return batch_norm_workspace(mode, input, size_bytes);
}

status cudnnGetBatchNormalizationBackwardExWorkspaceSize(handle own, int mode, int operations, const tensor *input,
                                                         const tensor *output, const tensor *output_gradient,
                                                         const tensor *addend_gradient, const tensor *input_gradient,
                                                         const tensor *parameters, void *activation, size_t *size_bytes)
{
    (void)own, (void)operations, (void)output, (void)output_gradient, (void)addend_gradient, (void)input_gradient;
    (void)parameters, (void)activation;
    return batch_norm_workspace(mode, input, size_bytes);
}

/* The reserve holds the mask of a fused activation; batch normalisation alone has none. */
status cudnnGetBatchNormalizationTrainingExReserveSpaceSize(handle own, int mode, int operations, void *activation,
                                                            const tensor *input, size_t *size_bytes)
{
    (void)own, (void)mode, (void)activation;
    if (operations != 0 || input == NULL) /* CUDNN_BATCHNORM_OPS_BN */
        return vg_refuse("cudnnGetBatchNormalizationTrainingExReserveSpaceSize", NOT_SUPPORTED);
    *size_bytes = 0;
    return SUCCESS;
}
