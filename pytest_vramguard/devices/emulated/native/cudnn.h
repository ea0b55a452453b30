/* What the files of libcudnn share: status codes, tensors as the rules for workspaces see them, and those rules.
 *
 * Source of values and signatures: cuDNN 9.24 API reference, "cudnn_graph", "cudnn_ops" and "cudnn_cnn" libraries.
 */
#ifndef VRAMGUARD_CUDNN_H
#define VRAMGUARD_CUDNN_H

#include "core.h"

typedef int status; /* cudnnStatus_t */
#define SUCCESS 0
#ifdef VG_CUDNN_8 /* cuDNN 8.9 API reference, cudnnStatus_t */
#define ALLOC_FAILED 2
#define BAD_PARAM 3
#define NOT_SUPPORTED 9
#else
#define ALLOC_FAILED 4000
#define BAD_PARAM 2000
#define NOT_SUPPORTED 3000
#endif

#define MAX_DIMENSIONS 8 /* CUDNN_DIM_MAX */

typedef struct {
    int type; /* cudnnDataType_t */
    int dimensions;
    int64_t sizes[MAX_DIMENSIONS], strides[MAX_DIMENSIONS];
} tensor;

typedef enum {
    PLAIN_ENGINE,       /* implicit GEMM on the tensors as they lie: no workspace */
    TENSOR_CORE_ENGINE, /* works on channels-last copies of tensors that lie otherwise */
} engine;

/* Bytes of an element of a cudnnDataType_t; 0 for a type that is not covered. */
size_t vg_cudnn_element_bytes(int type);
/* Whether the placed card's Tensor Cores take this type. */
bool vg_cudnn_tensor_cores_take(int type);
/* Workspace of a convolution of any direction. `parts` are its two operands and its result. */
size_t vg_cudnn_convolution_workspace(engine chosen, const tensor *const parts[3]);

#endif
