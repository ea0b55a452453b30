/* libcusparse: handles, descriptors, and how much buffer a product asks for. Products, solves and sorts are counted by stubs.
 *
 * NVIDIA publishes no buffer sizes. The rule here: a product or a solve over a compressed matrix partitions its rows, one 4-byte
 * index for each row and one more; a sort holds keys and a permutation, 4 bytes each, twice. A product of two sparse matrices, or
 * a sum of two, has as many entries as their values say: refused.
 * Source of values and signatures: cuSPARSE 13.0 documentation, "cuSPARSE Generic APIs" and "cuSPARSE Types Reference".
 */
#include "core.h"

#include <stdlib.h>

typedef int status; /* cusparseStatus_t */
#define SUCCESS 0
#define NOT_INITIALIZED 1
#define ALLOC_FAILED 2
#define INVALID_VALUE 3
#define INDEX_BYTES 4

typedef struct {
    void *stream;
    int pointer_mode;
} context, *handle;

typedef struct {
    int64_t rows, columns, entries;
} matrix;

status cusparseCreate(handle *created)
{
    if (vg_card_count() == 0)
        return NOT_INITIALIZED;
    *created = calloc(1, sizeof(context));
    return *created ? SUCCESS : ALLOC_FAILED;
}

status cusparseDestroy(handle gone)
{
    free(gone);
    return gone ? SUCCESS : NOT_INITIALIZED;
}

status cusparseSetStream(handle own, void *stream)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    own->stream = stream;
    return SUCCESS;
}

status cusparseSetPointerMode(handle own, int mode)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    own->pointer_mode = mode;
    return SUCCESS;
}

status cusparseGetVersion(handle own, int *version)
{
    if (own == NULL || version == NULL)
        return INVALID_VALUE;
    *version = 12600; /* major * 1000 + minor * 100 + patch */
    return SUCCESS;
}

const char *cusparseGetErrorName(status code) { return code == SUCCESS ? "CUSPARSE_STATUS_SUCCESS" : "CUSPARSE_STATUS_NOT_SUPPORTED"; }
const char *cusparseGetErrorString(status code) { return code == SUCCESS ? "success" : "not supported by the emulated card"; }

/* ---- descriptors ---------------------------------------------------------------------------------------------------------- */

static status create(matrix **created, int64_t rows, int64_t columns, int64_t entries)
{
    *created = malloc(sizeof **created);
    if (*created == NULL)
        return ALLOC_FAILED;
    **created = (matrix){rows, columns, entries};
    return SUCCESS;
}

static status destroy(void *gone)
{
    free(gone);
    return SUCCESS;
}

status cusparseCreateCsr(matrix **created, int64_t rows, int64_t columns, int64_t entries, void *row_offsets, void *column_indices,
                         void *values, int offset_type, int index_type, int base, int type)
{
    (void)row_offsets, (void)column_indices, (void)values, (void)offset_type, (void)index_type, (void)base, (void)type;
    return create(created, rows, columns, entries);
}

status cusparseCreateCoo(matrix **created, int64_t rows, int64_t columns, int64_t entries, void *row_indices, void *column_indices,
                         void *values, int index_type, int base, int type)
{
    (void)row_indices, (void)column_indices, (void)values, (void)index_type, (void)base, (void)type;
    return create(created, rows, columns, entries);
}

status cusparseCreateDnMat(matrix **created, int64_t rows, int64_t columns, int64_t leading, void *values, int type, int order)
{
    (void)leading, (void)values, (void)type, (void)order;
    return create(created, rows, columns, rows * columns);
}

status cusparseCreateDnVec(matrix **created, int64_t size, void *values, int type)
{
    (void)values, (void)type;
    return create(created, size, 1, size);
}

status cusparseDestroySpMat(void *gone) { return destroy(gone); }
status cusparseDestroyDnMat(void *gone) { return destroy(gone); }
status cusparseDestroyDnVec(void *gone) { return destroy(gone); }

status cusparseSpMatGetSize(const matrix *asked, int64_t *rows, int64_t *columns, int64_t *entries)
{
    if (asked == NULL)
        return INVALID_VALUE;
    *rows = asked->rows, *columns = asked->columns, *entries = asked->entries;
    return SUCCESS;
}

status cusparseCsrSetPointers(void *changed, void *row_offsets, void *column_indices, void *values)
{
    (void)row_offsets, (void)column_indices, (void)values;
    return changed ? SUCCESS : INVALID_VALUE;
}

status cusparseCsrSetStridedBatch(void *changed, int count, int64_t offsets_stride, int64_t values_stride)
{
    (void)count, (void)offsets_stride, (void)values_stride;
    return changed ? SUCCESS : INVALID_VALUE;
}

status cusparseDnMatSetStridedBatch(void *changed, int count, int64_t stride)
{
    (void)count, (void)stride;
    return changed ? SUCCESS : INVALID_VALUE;
}

status cusparseSpMatSetAttribute(void *changed, int attribute, void *value, size_t size_bytes)
{
    (void)attribute, (void)size_bytes;
    return changed && value ? SUCCESS : INVALID_VALUE;
}

#define OPAQUE(create_name, destroy_name)                                                                                        \
    status create_name(void **created) { return create((matrix **)created, 0, 0, 0); }                                           \
    status destroy_name(void *gone) { return destroy(gone); }

OPAQUE(cusparseCreateMatDescr, cusparseDestroyMatDescr)
OPAQUE(cusparseSpSV_createDescr, cusparseSpSV_destroyDescr)
OPAQUE(cusparseSpSM_createDescr, cusparseSpSM_destroyDescr)
OPAQUE(cusparseCreateBsrsv2Info, cusparseDestroyBsrsv2Info)
OPAQUE(cusparseCreateBsrsm2Info, cusparseDestroyBsrsm2Info)

#define KIND_OF_MATRIX(name)                                                                                                     \
    status name(void *changed, int value)                                                                                        \
    {                                                                                                                            \
        (void)value;                                                                                                             \
        return changed ? SUCCESS : INVALID_VALUE;                                                                                \
    }

KIND_OF_MATRIX(cusparseSetMatType)
KIND_OF_MATRIX(cusparseSetMatFillMode)
KIND_OF_MATRIX(cusparseSetMatDiagType)
KIND_OF_MATRIX(cusparseSetMatIndexBase)

/* ---- buffers -------------------------------------------------------------------------------------------------------------- */

static status row_partition(const matrix *of, size_t *size_bytes)
{
    if (of == NULL || size_bytes == NULL)
        return INVALID_VALUE;
    *size_bytes = (size_t)(of->rows + 1) * INDEX_BYTES;
    return SUCCESS;
}

static status sort_buffer(int entries, size_t *size_bytes)
{
    *size_bytes = (size_t)entries * 4 * INDEX_BYTES;
    return SUCCESS;
}

status cusparseSpMV_bufferSize(handle own, int operation, const void *alpha, const matrix *a, const matrix *x, const void *beta,
                               matrix *y, int type, int algorithm, size_t *size_bytes)
{
    (void)own, (void)operation, (void)alpha, (void)x, (void)beta, (void)y, (void)type, (void)algorithm;
    return row_partition(a, size_bytes);
}

status cusparseSpMM_bufferSize(handle own, int a_operation, int b_operation, const void *alpha, const matrix *a, const matrix *b,
                               const void *beta, matrix *c, int type, int algorithm, size_t *size_bytes)
{
    (void)own, (void)a_operation, (void)b_operation, (void)alpha, (void)b, (void)beta, (void)c, (void)type, (void)algorithm;
    return row_partition(a, size_bytes);
}

status cusparseSDDMM_bufferSize(handle own, int a_operation, int b_operation, const void *alpha, const matrix *a, const matrix *b,
                                const void *beta, matrix *c, int type, int algorithm, size_t *size_bytes)
{
    (void)own, (void)a_operation, (void)b_operation, (void)alpha, (void)a, (void)b, (void)beta, (void)type, (void)algorithm;
    return row_partition(c, size_bytes);
}

status cusparseSpSV_bufferSize(handle own, int operation, const void *alpha, const matrix *a, const matrix *x, matrix *y, int type,
                               int algorithm, void *solver, size_t *size_bytes)
{
    (void)own, (void)operation, (void)alpha, (void)x, (void)y, (void)type, (void)algorithm, (void)solver;
    return row_partition(a, size_bytes);
}

status cusparseSpSM_bufferSize(handle own, int a_operation, int b_operation, const void *alpha, const matrix *a, const matrix *b,
                               matrix *c, int type, int algorithm, void *solver, size_t *size_bytes)
{
    (void)own, (void)a_operation, (void)b_operation, (void)alpha, (void)b, (void)c, (void)type, (void)algorithm, (void)solver;
    return row_partition(a, size_bytes);
}

status cusparseXcoosort_bufferSizeExt(handle own, int rows, int columns, int entries, const int *row_indices,
                                      const int *column_indices, size_t *size_bytes)
{
    (void)own, (void)rows, (void)columns, (void)row_indices, (void)column_indices;
    return sort_buffer(entries, size_bytes);
}

status cusparseXcsrsort_bufferSizeExt(handle own, int rows, int columns, int entries, const int *row_offsets,
                                      const int *column_indices, size_t *size_bytes)
{
    (void)own, (void)rows, (void)columns, (void)row_offsets, (void)column_indices;
    return sort_buffer(entries, size_bytes);
}
