/* libnvJitLink: refused but for its version. NVIDIA's cuSPARSE brings it along, and some releases of bitsandbytes rely on that
 * without calling it.
 * Source of signatures: nvJitLink 13.0 documentation, "NVJitLink API".
 */
#include "core.h"

int nvJitLinkVersion(unsigned *major, unsigned *minor)
{
    *major = VG_CUDA_RELEASE / 1000;
    *minor = VG_CUDA_RELEASE % 1000 / 10;
    return 0; /* NVJITLINK_SUCCESS */
}
