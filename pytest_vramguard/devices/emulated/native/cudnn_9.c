/* What libcudnn has from cuDNN 9 on. */
#include "cudnn.h"

#include <stdio.h>

void cudnnGetLastErrorString(char *message, size_t capacity_bytes)
{
    snprintf(message, capacity_bytes, "not supported by the emulated card");
}
