/* Which cards of the node this process sees, in which order, and which of them it uses. */
#include "core.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define GPU "GPU-"
#define UNCOUNTED (-1)
static _Atomic int visible_count = UNCOUNTED;
static int visible[VG_MAX_CARDS]; /* cards of the node, in the order of the process's devices */
static _Atomic bool chosen[VG_MAX_CARDS];
static _Thread_local int current_device;

void vg_forget_visible(void) { atomic_store(&visible_count, UNCOUNTED); }

/* Whether the first `count` of the visible cards include `number`. */
static bool listed(int count, long number)
{
    while (count-- > 0)
        if (visible[count] == number)
            return true;
    return false;
}

/* The card of the ordinal at `at`; `end` is set behind it. -1 if it is none. */
static long card_by_ordinal(const char *at, const char **end)
{
    char *behind;
    long ordinal = strtol(at, &behind, 10);
    *end = behind;
    return behind != at && ordinal < vg_the_card()->count ? ordinal : -1;
}

/* The one card whose UUID begins with the text up to the next comma; -1 if there is none, or more than one. */
static long card_by_uuid(const char *at, const char **end)
{
    size_t length = strcspn(at, ",");
    long found = -1;
    *end = at + length;
    for (int card = 0; card < vg_the_card()->count; card++) {
        char uuid[VG_UUID_TEXT_BYTES];
        vg_card_uuid_text(card, uuid);
        if (strncmp(uuid, at, length) != 0)
            continue;
        if (found >= 0)
            return -1;
        found = card;
    }
    return found;
}

/* Takes the cards of CUDA_VISIBLE_DEVICES in order, up to the first that there is not; a repeated one leaves none. The list has
 * ordinals or, if it begins with GPU-, UUIDs, which may be cut short. MIG- names a part of a card, which no emulated one has.
 * Sources: CUDA C++ Programming Guide 13.0, "CUDA Environment Variables"; torch/cuda/__init__.py, _parse_visible_devices. */
static int take_visible(const char *list)
{
    bool by_uuid = strncmp(list, GPU, strlen(GPU)) == 0;
    int count = 0;
    for (const char *at = list, *end;; at = end + 1) {
        if (by_uuid && strncmp(at, GPU, strlen(GPU)) != 0)
            return count;
        long card = by_uuid ? card_by_uuid(at, &end) : card_by_ordinal(at, &end);
        if (card < 0)
            return count;
        if (listed(count, card))
            return 0;
        visible[count++] = (int)card;
        if (*end != ',')
            return count;
    }
}

static int take_all(void)
{
    for (int ordinal = 0; ordinal < vg_the_card()->count; ordinal++)
        visible[ordinal] = ordinal;
    return vg_the_card()->count;
}

/* The list is read when the cards are first counted, as by cuInit, so that a program may still set it. */
int vg_card_count(void)
{
    int counted = atomic_load(&visible_count);
    if (counted == UNCOUNTED) {
        const char *list = getenv("CUDA_VISIBLE_DEVICES");
        counted = list == NULL ? take_all() : take_visible(list);
        atomic_store(&visible_count, counted);
    }
    return counted;
}

int vg_card_of(int device)
{
    return device >= 0 && device < vg_card_count() ? visible[device] : -1;
}

int vg_device_of(int own)
{
    for (int device = 0; device < vg_card_count(); device++)
        if (visible[device] == own)
            return device;
    return -1;
}

bool vg_in_use(int device)
{
    return device >= 0 && device < vg_card_count() &&
           (atomic_load(&chosen[device]) || vg_usage_of(device).used_bytes != vg_the_card()->context_bytes);
}

int vg_current_device(void)
{
    return current_device < vg_card_count() ? current_device : 0; /* fewer cards may have been placed since it was set */
}

bool vg_set_current_device(int device)
{
    if (device < 0 || device >= vg_card_count())
        return false;
    current_device = device;
    atomic_store(&chosen[device], true);
    return true;
}
