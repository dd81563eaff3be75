/* Copyright (C) Conduit for NGINX authors */

/*
 * Preloaded into NGINX by t/faults/memory.t: makes one allocation fail.  The
 * file named by CONDUIT_NO_MEMORY holds three ints.  The first is the number of
 * the allocation that fails, counted from when it was written, and 0 if none
 * will.  The others are the sizes, from and to, of those that count.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>


void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);


/* hiredis 0.14 crashes if an empty string (4 bytes) can't be allocated */
#define SMALLEST  4


typedef struct {
    int  countdown;
    int  from;
    int  to;
} orders_t;


static orders_t  none;
static orders_t *orders = &none;


__attribute__((constructor))
static void
open_orders(void)
{
    int          fd;
    void        *p;
    const char  *name;

    name = getenv("CONDUIT_NO_MEMORY");
    fd = name ? open(name, O_RDWR|O_CLOEXEC) : -1;

    if (fd == -1) {
        return;
    }

    p = mmap(NULL, sizeof(orders_t), PROT_READ|PROT_WRITE, MAP_SHARED, fd, 0);

    if (p != MAP_FAILED) {
        orders = p;
    }

    close(fd);
}


/* only one process of NGINX allocates while the countdown runs */

static int
fails(size_t size)
{
    if (orders->countdown == 0
        || size <= SMALLEST
        || size < (size_t) orders->from
        || size > (size_t) orders->to
        || --orders->countdown != 0)
    {
        return 0;
    }

    errno = ENOMEM;

    return 1;
}


void *
malloc(size_t size)
{
    return fails(size) ? NULL : __libc_malloc(size);
}


void *
calloc(size_t n, size_t size)
{
    return fails(n * size) ? NULL : __libc_calloc(n, size);
}


void *
realloc(void *p, size_t size)
{
    return fails(size) ? NULL : __libc_realloc(p, size);
}


int
posix_memalign(void **p, size_t alignment, size_t size)
{
    if (fails(size)) {
        return ENOMEM;
    }

    *p = __libc_memalign(alignment, size);

    return *p ? 0 : ENOMEM;
}
