/* libcudnn: how much workspace a convolution asks for.
 *
 * NVIDIA publishes no sizes. Tensor Core convolutions work on channels-last tensors; operands that lie otherwise are copied, and
 * so is the result, in fp32. Implicit GEMM needs no workspace.
 * Source: NVIDIA Deep Learning Performance, Convolutional Layers User's Guide, "Tensor Layouts In Memory: NCHW vs NHWC"; cuDNN 9
 * API reference, cudnnConvolutionFwdAlgo_t. The types of the copies: measured by chainer/chainer, pull request 3972 (2017): for
 * an fp16 input of (32, 96, 27, 27) and filters of 5 x 5, of which its network has 256, cuDNN asked for 29,600,043 bytes forward
 * and 22,137,259 backward to the input; the rule gives 29,595,648 and 22,130,688.
 */
#include "cudnn.h"

/* cudnnDataType_t */
#define FLOAT 0
#define DOUBLE 1
#define HALF 2
#define INT8 3
#define INT32 4
#define UINT8 6
#define BFLOAT16 9
#define INT64 10
#define BOOLEAN 11
#define FP8_E4M3 12
#define FP8_E5M2 13

#define RESULT 2 /* the last of a convolution's parts */
#define COPY_ALIGNMENT_BYTES 256 /* as of every allocation. Source: CUDA C++ programming guide, "Device Memory Accesses" */

size_t vg_cudnn_element_bytes(int type)
{
    switch (type) {
    case DOUBLE:
    case INT64:
        return 8;
    case FLOAT:
    case INT32:
        return 4;
    case HALF:
    case BFLOAT16:
        return 2;
    case INT8:
    case UINT8:
    case BOOLEAN:
    case FP8_E4M3:
    case FP8_E5M2:
        return 1;
    default:
        return 0;
    }
}

/* Half from Volta on, bfloat16 and TF32 (for fp32) from Ampere on. Source: CUDA C++ programming guide, compute capabilities. */
bool vg_cudnn_tensor_cores_take(int type)
{
    int major = vg_the_card()->major;
    return type == HALF ? major >= 7 : (type == BFLOAT16 || type == FLOAT) && major >= 8;
}

static size_t elements(const tensor *part)
{
    size_t count = 1;
    for (int axis = 0; axis < part->dimensions; axis++)
        count *= (size_t)part->sizes[axis];
    return count;
}

/* A tensor (N, C, spatial...) whose channels lie beside each other. One channel, or one position, lies in both ways at once. */
static bool channels_last(const tensor *part)
{
    size_t positions = 1;
    for (int axis = 2; axis < part->dimensions; axis++)
        positions *= (size_t)part->sizes[axis];
    return part->dimensions < 3 || part->sizes[1] == 1 || positions == 1 || part->strides[1] == 1;
}

size_t vg_cudnn_convolution_workspace(engine chosen, const tensor *const parts[3])
{
    size_t total_bytes = 0;
    for (int part = 0; chosen == TENSOR_CORE_ENGINE && part < 3; part++)
        if (!channels_last(parts[part])) {
            size_t bytes = elements(parts[part]) * vg_cudnn_element_bytes(part == RESULT ? FLOAT : parts[part]->type);
            total_bytes += (bytes + COPY_ALIGNMENT_BYTES - 1) / COPY_ALIGNMENT_BYTES * COPY_ALIGNMENT_BYTES;
        }
    return total_bytes;
}
