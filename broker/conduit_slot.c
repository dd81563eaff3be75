/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_slot.h"


static int conduit_redirect_word(const char **text, const char *last,
    const char *word);
static int conduit_redirect_address(const char *text, const char *last,
    conduit_redirect_t *r);
static int conduit_redirect_number(const char **text, const char *last,
    uint64_t max, uint64_t *number);


unsigned
conduit_slot(const char *key, size_t len)
{
    size_t       i;
    uint16_t     crc;
    const char  *open, *close;

    /* a table for 4 bits at a time fits into one cache line */

    static const uint16_t  table[16] = {
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef
    };

    open = len ? memchr(key, '{', len) : NULL;

    if (open != NULL) {
        open++;
        close = memchr(open, '}', len - (size_t) (open - key));

        if (close != NULL && close != open) {
            key = open;
            len = (size_t) (close - open);
        }
    }

    crc = 0;

    for (i = 0; i < len; i++) {
        crc = (uint16_t) (crc << 4)
              ^ table[(crc >> 12) ^ ((unsigned char) key[i] >> 4)];
        crc = (uint16_t) (crc << 4)
              ^ table[(crc >> 12) ^ ((unsigned char) key[i] & 0x0f)];
    }

    return crc % CONDUIT_SLOTS;
}


/* "MOVED 3999 127.0.0.1:6381", "ASK 3999 127.0.0.1:6381" */

conduit_redirect_e
conduit_redirect_parse(const char *text, size_t len, conduit_redirect_t *r)
{
    uint64_t             n;
    const char          *last;
    conduit_redirect_e   kind;

    memset(r, 0, sizeof(conduit_redirect_t));

    last = text + len;

    if (conduit_redirect_word(&text, last, "MOVED ")) {
        kind = CONDUIT_REDIRECT_MOVED;

    } else if (conduit_redirect_word(&text, last, "ASK ")) {
        kind = CONDUIT_REDIRECT_ASK;

    } else {
        return CONDUIT_REDIRECT_NONE;
    }

    if (!conduit_redirect_number(&text, last, CONDUIT_SLOTS - 1, &n)
        || text == last || *text++ != ' ')
    {
        return CONDUIT_REDIRECT_NONE;
    }

    r->slot = (unsigned) n;

    if (!conduit_redirect_address(text, last, r)) {
        return CONDUIT_REDIRECT_NONE;
    }

    r->kind = kind;

    return kind;
}


static int
conduit_redirect_word(const char **text, const char *last, const char *word)
{
    size_t  len;

    len = strlen(word);

    if ((size_t) (last - *text) <= len || memcmp(*text, word, len) != 0) {
        return 0;
    }

    *text += len;

    return 1;
}


/* "host:port"; an IPv6 address may be in brackets */

static int
conduit_redirect_address(const char *text, const char *last,
    conduit_redirect_t *r)
{
    uint64_t     port;
    const char  *p;

    /* the port follows the last colon: an IPv6 address may have no brackets */

    for (p = last; p > text && p[-1] != ':'; p--) {
        /* void */
    }

    if (p == text) {
        return 0;
    }

    r->host = text;
    r->host_len = (size_t) (p - 1 - text);

    if (r->host_len > 2 && r->host[0] == '['
        && r->host[r->host_len - 1] == ']')
    {
        r->host++;
        r->host_len -= 2;
    }

    if (r->host_len > CONDUIT_HOST_MAX
        || !conduit_redirect_number(&p, last, 65535, &port) || port == 0
        || p != last)
    {
        return 0;
    }

    r->port = (uint16_t) port;

    return 1;
}


static int
conduit_redirect_number(const char **text, const char *last, uint64_t max,
    uint64_t *number)
{
    uint64_t     n;
    const char  *p;

    n = 0;

    for (p = *text; p < last && *p >= '0' && *p <= '9'; p++) {

        n = n * 10 + (uint64_t) (*p - '0');

        if (n > max) {
            return 0;
        }
    }

    if (p == *text) {
        return 0;
    }

    *text = p;
    *number = n;

    return 1;
}
