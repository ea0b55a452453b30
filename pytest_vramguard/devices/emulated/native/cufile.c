/* libcufile: refused. There is no card that a disk could write to past the host. The functions that return no CUfileError_t
 * (a code of the library and one of the driver, 8 bytes) are written here; the stubs' code is the first of the two.
 * Source of values and signatures: cuFile API reference, CUDA 13.0.
 */
#include "core.h"

#include <sys/types.h>

#define DEVICE_NOT_SUPPORTED 5009 /* CU_FILE_DEVICE_NOT_SUPPORTED, CUFILEOP_BASE_ERR + 9 */

/* Sizes of transfers are non-negative; a fault is the negative code. */
ssize_t cuFileRead(void *file, void *memory, size_t size_bytes, off_t file_offset, off_t memory_offset)
{
    (void)file, (void)memory, (void)size_bytes, (void)file_offset, (void)memory_offset;
    return -(ssize_t)vg_refuse("cuFileRead", DEVICE_NOT_SUPPORTED);
}

ssize_t cuFileWrite(void *file, const void *memory, size_t size_bytes, off_t file_offset, off_t memory_offset)
{
    (void)file, (void)memory, (void)size_bytes, (void)file_offset, (void)memory_offset;
    return -(ssize_t)vg_refuse("cuFileWrite", DEVICE_NOT_SUPPORTED);
}
