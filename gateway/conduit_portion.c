/* Copyright (C) Conduit for NGINX authors */

#include "conduit_portion.h"


/* the size of an entry in bytes that is assumed before any was read: most
   messages are smaller, and a channel whose first question asked for less would
   need several where one is enough */
#define CONDUIT_PORTION_FIRST  1024


size_t
conduit_portion_learn(size_t size, size_t bytes, size_t n)
{
    size_t  mean;

    if (n == 0) {
        return size;
    }

    mean = bytes / n + 1;

    /* a smaller mean counts half, as the next entries may be large again */

    return mean >= size ? mean : size - (size - mean + 1) / 2;
}


size_t
conduit_portion_count(size_t size, size_t max)
{
    size_t  n;

    n = CONDUIT_PORTION_BYTES / (size ? size : CONDUIT_PORTION_FIRST);

    if (n == 0) {
        return 1;
    }

    return n < max ? n : max;
}
