/* libcurand: refused but for its version. PyTorch links it and draws its random numbers with kernels of its own.
 * Source of values and signatures: cuRAND 13.0 documentation, "Host API".
 */
#include "core.h"

int curandGetVersion(int *version)
{
    *version = 10400; /* major * 1000 + minor * 100 + patch */
    return 0;         /* CURAND_STATUS_SUCCESS */
}
