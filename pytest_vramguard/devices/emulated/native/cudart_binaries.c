/* libcudart: the machine code that programs bring along, of which only the versions are read.
 *
 * A card without code of its own version runs that of an older one (an RTX 4090, which is 8.9, that of 8.6), and a kernel says
 * for which version it was built. CUB chooses by that answer, and since CUDA 13 refuses one for which it was not built.
 *
 * A wrapper in front of each binary names its place (fatbinary_section.h of the CUDA headers). There a header is followed by an
 * entry for each version, machine code or PTX; their layout is not published and was read from libraries that nvcc made.
 *
 * Invariant: a registration stays for the life of the process, also when its library is unloaded: whatever is loaded at the same
 * place afterwards registers its own functions, and the newest registration is the one that is found.
 */
#include "runtime.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int magic, version;
    const unsigned char *data;
    void *file_name;
} wrapper;

typedef struct {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t entries_bytes; /* that follow */
} header;

typedef struct {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t payload_bytes;
    uint32_t unread[3];
    uint32_t built_for; /* 86 for 8.6 */
} entry;

enum { WRAPPER_MAGIC = 0x466243B1, PTX = 1, MACHINE_CODE = 2 };
#define HEADER_MAGIC 0xBA55ED50u

typedef struct {
    const void *function;
    const wrapper *binary;
} registration;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static registration *registrations;
static size_t registration_count, registration_room;

void vg_register_function(const void *function, void **binary)
{
    pthread_mutex_lock(&lock);
    if (registration_count == registration_room) {
        size_t room = registration_room ? 2 * registration_room : 1024;
        registration *grown = realloc(registrations, room * sizeof *grown);
        if (grown == NULL)
            goto out; /* the function is taken to be built for the card, as one that nobody registered */
        registrations = grown;
        registration_room = room;
    }
    registrations[registration_count++] = (registration){function, (const wrapper *)binary};
out:
    pthread_mutex_unlock(&lock);
}

static const wrapper *binary_of(const void *function)
{
    const wrapper *found = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = registration_count; i > 0 && found == NULL; i--)
        if (registrations[i - 1].function == function)
            found = registrations[i - 1].binary;
    pthread_mutex_unlock(&lock);
    return found;
}

/* Machine code runs on its own major version from its minor version on, PTX on anything newer, and machine code comes first.
 * Source: CUDA C++ Programming Guide 13.0, "Binary Compatibility" and "PTX Compatibility". */
int vg_built_for(const void *function, int card)
{
    const wrapper *binary = binary_of(function);
    if (binary == NULL || binary->magic != WRAPPER_MAGIC || binary->data == NULL)
        return card;
    header start;
    memcpy(&start, binary->data, sizeof start);
    if (start.magic != HEADER_MAGIC)
        return card;
    int best[] = {[PTX] = 0, [MACHINE_CODE] = 0};
    const unsigned char *place = binary->data + start.header_bytes;
    uint64_t left_bytes = start.entries_bytes;
    while (left_bytes >= sizeof(entry)) {
        entry at;
        memcpy(&at, place, sizeof at);
        int built_for = (int)at.built_for;
        int runs = built_for <= card && (at.kind == PTX || (at.kind == MACHINE_CODE && built_for / 10 == card / 10));
        if (runs && built_for > best[at.kind])
            best[at.kind] = built_for;
        uint64_t entry_bytes = at.header_bytes + at.payload_bytes;
        if (entry_bytes == 0 || entry_bytes > left_bytes)
            break;
        place += entry_bytes;
        left_bytes -= entry_bytes;
    }
    return best[MACHINE_CODE] ? best[MACHINE_CODE] : best[PTX] ? best[PTX] : card;
}
