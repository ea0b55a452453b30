/* libcusolver: dense handles, parameters, and how much workspace a factorisation asks for. Factorisations are counted by stubs.
 *
 * NVIDIA publishes no workspace sizes, so they follow from LAPACK, whose routines these are: a blocked one-sided factorisation
 * works on a panel of BLOCK columns, an eigenvalue or singular value decomposition needs LAPACK's documented minimum. The sparse,
 * refactorisation and multi-GPU parts of the library are refused.
 * Source of signatures: cuSOLVER 13.0 documentation, "cuSolverDN: dense LAPACK". Source of sizes: LAPACK 3.12, argument LWORK.
 */
#include "core.h"

#include <stdlib.h>

typedef int status; /* cusolverStatus_t */
#define SUCCESS 0
#define NOT_INITIALIZED 1
#define ALLOC_FAILED 2
#define INVALID_VALUE 3

#define BLOCK 32 /* LAPACK's block size, ILAENV with ISPEC = 1: 32 for the QR family, 32 to 64 for the others */

typedef struct {
    void *stream;
    int deterministic;
} context, *handle;

status cusolverDnCreate(handle *created)
{
    if (vg_card_count() == 0)
        return NOT_INITIALIZED;
    *created = calloc(1, sizeof(context));
    return *created ? SUCCESS : ALLOC_FAILED;
}

status cusolverDnDestroy(handle gone)
{
    free(gone);
    return gone ? SUCCESS : NOT_INITIALIZED;
}

status cusolverDnSetStream(handle own, void *stream)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    own->stream = stream;
    return SUCCESS;
}

status cusolverDnGetStream(handle own, void **stream)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    *stream = own->stream;
    return SUCCESS;
}

status cusolverDnSetDeterministicMode(handle own, int mode)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    own->deterministic = mode;
    return SUCCESS;
}

/* Parameters shape a computation, of which nothing is kept. */
#define PARAMETERS(kind)                                                                                                         \
    status cusolverDnCreate##kind(void **created)                                                                                \
    {                                                                                                                            \
        *created = malloc(1);                                                                                                    \
        return *created ? SUCCESS : ALLOC_FAILED;                                                                                \
    }                                                                                                                            \
    status cusolverDnDestroy##kind(void *gone)                                                                                   \
    {                                                                                                                            \
        free(gone);                                                                                                              \
        return SUCCESS;                                                                                                          \
    }

PARAMETERS(Params)
PARAMETERS(GesvdjInfo)
PARAMETERS(SyevjInfo)

#define JACOBI_SETTING(name, type)                                                                                               \
    status name(void *parameters, type value)                                                                                    \
    {                                                                                                                            \
        (void)value;                                                                                                             \
        return parameters ? SUCCESS : INVALID_VALUE;                                                                             \
    }

JACOBI_SETTING(cusolverDnXgesvdjSetTolerance, double)
JACOBI_SETTING(cusolverDnXgesvdjSetMaxSweeps, int)
JACOBI_SETTING(cusolverDnXgesvdjSetSortEig, int)
JACOBI_SETTING(cusolverDnXsyevjSetTolerance, double)
JACOBI_SETTING(cusolverDnXsyevjSetMaxSweeps, int)
JACOBI_SETTING(cusolverDnXsyevjSetSortEig, int)

/* ---- sizes, in elements of the matrix ------------------------------------------------------------------------------------ */

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* getrf, potrf, geqrf, sytrf and their companions: a panel. */
static int64_t panel(int64_t rows) { return larger(rows, 1) * BLOCK; }

/* syevd with vectors: 1 + 6n + 2n^2. heevd needs n + n^2 and a real part of 1 + 5n + 2n^2, so this covers it too. */
static int64_t eigen(int64_t n) { return 1 + 6 * n + 2 * n * n; }

/* gesvd: max(3 min + max, 5 min), and the panel of the reduction that it begins with. */
static int64_t singular(int64_t m, int64_t n)
{
    int64_t low = smaller(m, n), high = larger(m, n);
    return larger(3 * low + high, 5 * low) + panel(high);
}

/* gesvdj: as LAPACK's gesvj, max(6, m + n), on a copy of the matrix, which it works in place. */
static int64_t singular_by_jacobi(int64_t m, int64_t n) { return m * n + larger(6, m + n); }

/* geev: 4n with vectors, and the Hessenberg panel. */
static int64_t eigen_of_general(int64_t n) { return 4 * n + panel(n); }

static status answer(handle own, int64_t elements, int *found)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    if (elements > INT32_MAX || found == NULL)
        return INVALID_VALUE;
    *found = (int)elements;
    return SUCCESS;
}

/* The same questions for each type of element; `real` and `complex` differ in names alone. */
#define COMMON_SIZES(T)                                                                                                          \
    status cusolverDn##T##potrf_bufferSize(handle own, int triangle, int n, void *a, int lda, int *found)                        \
    {                                                                                                                            \
        (void)triangle, (void)a, (void)lda;                                                                                      \
        return answer(own, panel(n), found);                                                                                     \
    }                                                                                                                            \
    status cusolverDn##T##getrf_bufferSize(handle own, int m, int n, void *a, int lda, int *found)                               \
    {                                                                                                                            \
        (void)n, (void)a, (void)lda;                                                                                             \
        return answer(own, panel(m), found);                                                                                     \
    }                                                                                                                            \
    status cusolverDn##T##geqrf_bufferSize(handle own, int m, int n, void *a, int lda, int *found)                               \
    {                                                                                                                            \
        (void)m, (void)a, (void)lda;                                                                                             \
        return answer(own, panel(n), found);                                                                                     \
    }                                                                                                                            \
    status cusolverDn##T##sytrf_bufferSize(handle own, int n, void *a, int lda, int *found)                                      \
    {                                                                                                                            \
        (void)a, (void)lda;                                                                                                      \
        return answer(own, panel(n), found);                                                                                     \
    }                                                                                                                            \
    status cusolverDn##T##gesvd_bufferSize(handle own, int m, int n, int *found) { return answer(own, singular(m, n), found); }  \
    status cusolverDn##T##gesvdj_bufferSize(handle own, int vectors, int economy, int m, int n, void *a, int lda, void *s, void *u, \
                                            int ldu, void *v, int ldv, int *found, void *parameters)                             \
    {                                                                                                                            \
        (void)vectors, (void)economy, (void)a, (void)lda, (void)s, (void)u, (void)ldu, (void)v, (void)ldv, (void)parameters;     \
        return answer(own, singular_by_jacobi(m, n), found);                                                                     \
    }                                                                                                                            \
    status cusolverDn##T##gesvdjBatched_bufferSize(handle own, int vectors, int m, int n, void *a, int lda, void *s, void *u,    \
                                                   int ldu, void *v, int ldv, int *found, void *parameters, int count)           \
    {                                                                                                                            \
        (void)vectors, (void)a, (void)lda, (void)s, (void)u, (void)ldu, (void)v, (void)ldv, (void)parameters;                    \
        return answer(own, singular_by_jacobi(m, n) * count, found);                                                             \
    }                                                                                                                            \
    status cusolverDn##T##gesvdaStridedBatched_bufferSize(handle own, int vectors, int rank, int m, int n, void *a, int lda,     \
                                                          long long a_stride, void *s, long long s_stride, void *u, int ldu,     \
                                                          long long u_stride, void *v, int ldv, long long v_stride, int *found,  \
                                                          int count)                                                             \
    {                                                                                                                            \
        (void)vectors, (void)rank, (void)a, (void)lda, (void)a_stride, (void)s, (void)s_stride, (void)u, (void)ldu;              \
        (void)u_stride, (void)v, (void)ldv, (void)v_stride;                                                                      \
        return answer(own, singular_by_jacobi(m, n) * count, found);                                                             \
    }

#define NAMED_SIZES(T, orthogonal, symmetric)                                                                                    \
    status cusolverDn##T##orthogonal##gqr_bufferSize(handle own, int m, int n, int k, void *a, int lda, void *tau, int *found)   \
    {                                                                                                                            \
        (void)m, (void)k, (void)a, (void)lda, (void)tau;                                                                         \
        return answer(own, panel(n), found);                                                                                     \
    }                                                                                                                            \
    status cusolverDn##T##orthogonal##mqr_bufferSize(handle own, int side, int transposed, int m, int n, int k, void *a, int lda, \
                                                     void *tau, void *c, int ldc, int *found)                                    \
    {                                                                                                                            \
        (void)transposed, (void)k, (void)a, (void)lda, (void)tau, (void)c, (void)ldc;                                            \
        return answer(own, panel(side == 0 ? n : m), found); /* CUBLAS_SIDE_LEFT is 0 */                                         \
    }                                                                                                                            \
    status cusolverDn##T##symmetric##evd_bufferSize(handle own, int vectors, int triangle, int n, void *a, int lda, void *w,     \
                                                    int *found)                                                                  \
    {                                                                                                                            \
        (void)vectors, (void)triangle, (void)a, (void)lda, (void)w;                                                              \
        return answer(own, eigen(n), found);                                                                                     \
    }                                                                                                                            \
    status cusolverDn##T##symmetric##evj_bufferSize(handle own, int vectors, int triangle, int n, void *a, int lda, void *w,     \
                                                    int *found, void *parameters)                                                \
    {                                                                                                                            \
        (void)vectors, (void)triangle, (void)a, (void)lda, (void)w, (void)parameters;                                            \
        return answer(own, singular_by_jacobi(n, n), found);                                                                     \
    }                                                                                                                            \
    status cusolverDn##T##symmetric##evjBatched_bufferSize(handle own, int vectors, int triangle, int n, void *a, int lda,       \
                                                           void *w, int *found, void *parameters, int count)                     \
    {                                                                                                                            \
        (void)vectors, (void)triangle, (void)a, (void)lda, (void)w, (void)parameters;                                            \
        return answer(own, singular_by_jacobi(n, n) * count, found);                                                             \
    }

COMMON_SIZES(S)
COMMON_SIZES(D)
COMMON_SIZES(C)
COMMON_SIZES(Z)
NAMED_SIZES(S, or, sy)
NAMED_SIZES(D, or, sy)
NAMED_SIZES(C, un, he)
NAMED_SIZES(Z, un, he)

/* ---- the interface for any type: sizes in bytes --------------------------------------------------------------------------- */

/* cudaDataType: CUDA_R_32F 0, CUDA_R_64F 1, CUDA_C_32F 4, CUDA_C_64F 5. Source: library_types.h of CUDA 13.0. */
static size_t element_bytes(int type) { return type == 5 ? 16 : type == 1 || type == 4 ? 8 : 4; }

static status answer_bytes(handle own, int64_t elements, int type, size_t *on_device, size_t *on_host)
{
    if (own == NULL)
        return NOT_INITIALIZED;
    *on_device = (size_t)elements * element_bytes(type);
    *on_host = 0;
    return SUCCESS;
}

status cusolverDnXpotrf_bufferSize(handle own, void *parameters, int triangle, int64_t n, int type, const void *a, int64_t lda,
                                   int compute, size_t *on_device, size_t *on_host)
{
    (void)parameters, (void)triangle, (void)a, (void)lda, (void)compute;
    return answer_bytes(own, panel(n), type, on_device, on_host);
}

status cusolverDnXgetrf_bufferSize(handle own, void *parameters, int64_t m, int64_t n, int type, const void *a, int64_t lda,
                                   int compute, size_t *on_device, size_t *on_host)
{
    (void)parameters, (void)n, (void)a, (void)lda, (void)compute;
    return answer_bytes(own, panel(m), type, on_device, on_host);
}

status cusolverDnXgeqrf_bufferSize(handle own, void *parameters, int64_t m, int64_t n, int type, const void *a, int64_t lda,
                                   int tau_type, const void *tau, int compute, size_t *on_device, size_t *on_host)
{
    (void)parameters, (void)m, (void)a, (void)lda, (void)tau_type, (void)tau, (void)compute;
    return answer_bytes(own, panel(n), type, on_device, on_host);
}

status cusolverDnXsytrs_bufferSize(handle own, int triangle, int64_t n, int64_t columns, int type, const void *a, int64_t lda,
                                   const int64_t *pivots, int b_type, void *b, int64_t ldb, size_t *on_device, size_t *on_host)
{
    (void)triangle, (void)n, (void)a, (void)lda, (void)pivots, (void)b_type, (void)b, (void)ldb;
    return answer_bytes(own, panel(columns), type, on_device, on_host);
}

status cusolverDnXsyevd_bufferSize(handle own, void *parameters, int vectors, int triangle, int64_t n, int type, const void *a,
                                   int64_t lda, int w_type, const void *w, int compute, size_t *on_device, size_t *on_host)
{
    (void)parameters, (void)vectors, (void)triangle, (void)a, (void)lda, (void)w_type, (void)w, (void)compute;
    return answer_bytes(own, eigen(n), type, on_device, on_host);
}

status cusolverDnXsyevBatched_bufferSize(handle own, void *parameters, int vectors, int triangle, int64_t n, int type, const void *a,
                                         int64_t lda, int w_type, const void *w, int compute, size_t *on_device, size_t *on_host,
                                         int64_t count)
{
    (void)parameters, (void)vectors, (void)triangle, (void)a, (void)lda, (void)w_type, (void)w, (void)compute;
    return answer_bytes(own, eigen(n) * count, type, on_device, on_host);
}

status cusolverDnXgeev_bufferSize(handle own, void *parameters, int left, int right, int64_t n, int type, const void *a, int64_t lda,
                                  int w_type, const void *w, int vl_type, const void *vl, int64_t ldvl, int vr_type, const void *vr,
                                  int64_t ldvr, int compute, size_t *on_device, size_t *on_host)
{
    (void)parameters, (void)left, (void)right, (void)a, (void)lda, (void)w_type, (void)w, (void)vl_type, (void)vl, (void)ldvl;
    (void)vr_type, (void)vr, (void)ldvr, (void)compute;
    return answer_bytes(own, eigen_of_general(n), type, on_device, on_host);
}
