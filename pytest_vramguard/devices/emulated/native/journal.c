/* Counters, what libraries hold, refusals and the emulated clock. */
#include "core.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define MAX_REFUSALS 512
#define NAME_BYTES 96
/* So long that autotuners, which repeat a kernel until about 100 ms have gone by, end after a few launches. */
#define LAUNCH_NS (10 * 1000 * 1000)

static _Atomic uint64_t counters[VG_COUNTERS];
static uint64_t held_bytes[VG_MAX_CARDS], held_peak_bytes[VG_MAX_CARDS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char refused[MAX_REFUSALS][NAME_BYTES];
static int refused_count;

static void take_lock(void) { pthread_mutex_lock(&lock); }
static void give_lock(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void survive_fork(void) { pthread_atfork(take_lock, give_lock, give_lock); }

void vg_count(vg_counter counter, uint64_t amount)
{
    atomic_fetch_add_explicit(&counters[counter], amount, memory_order_relaxed);
}

uint64_t vg_counted(vg_counter counter)
{
    return atomic_load_explicit(&counters[counter], memory_order_relaxed);
}

void vg_hold(int device, int64_t change_bytes)
{
    pthread_mutex_lock(&lock);
    held_bytes[device] += (uint64_t)change_bytes;
    if (held_bytes[device] > held_peak_bytes[device])
        held_peak_bytes[device] = held_bytes[device];
    pthread_mutex_unlock(&lock);
}

uint64_t vg_held_peak(int device)
{
    pthread_mutex_lock(&lock);
    uint64_t most = held_peak_bytes[device];
    pthread_mutex_unlock(&lock);
    return most;
}

void vg_reset_held_peak(void)
{
    pthread_mutex_lock(&lock);
    memcpy(held_peak_bytes, held_bytes, sizeof held_peak_bytes);
    pthread_mutex_unlock(&lock);
}

uint64_t vg_clock_ns(void)
{
    return (uint64_t)LAUNCH_NS * (vg_counted(VG_LAUNCHES) + vg_counted(VG_COMPUTE_CALLS));
}

int vg_refuse(const char *name, int code)
{
    pthread_mutex_lock(&lock);
    int known = 0;
    while (known < refused_count && strncmp(refused[known], name, NAME_BYTES - 1) != 0)
        known++;
    /* A full table drops the name but not the fact: the table is not empty, so the case fails all the same. */
    if (known == refused_count && refused_count < MAX_REFUSALS)
        snprintf(refused[refused_count++], NAME_BYTES, "%s", name);
    pthread_mutex_unlock(&lock);
    return code;
}

int vg_refusals(char *text, size_t capacity_bytes)
{
    pthread_mutex_lock(&lock);
    size_t written = 0;
    for (int i = 0; i < refused_count && written < capacity_bytes; i++) {
        int length = snprintf(text + written, capacity_bytes - written, "%s\n", refused[i]);
        written += length > 0 ? (size_t)length : 0;
    }
    int count = refused_count;
    pthread_mutex_unlock(&lock);
    return count;
}

void vg_forget_refusals(void)
{
    pthread_mutex_lock(&lock);
    refused_count = 0;
    pthread_mutex_unlock(&lock);
}
