/* Copyright (C) Conduit for NGINX authors */

/*
 * The reasons of an outage.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_reasons.h"


/* ms between two lines about the same reason */
#define NGX_CONDUIT_REASON_INTERVAL  60000


ngx_uint_t
ngx_conduit_reasons_add(ngx_conduit_reasons_t *reasons, const char *why)
{
    uint32_t    hash;
    ngx_uint_t  i, oldest;

    hash = ngx_crc32_short((u_char *) why, ngx_strlen(why));
    oldest = 0;

    for (i = 0; i < reasons->n && reasons->hash[i] != hash; i++) {

        if ((ngx_msec_int_t) (reasons->said[i] - reasons->said[oldest]) < 0) {
            oldest = i;
        }
    }

    if (i == reasons->n && i < NGX_CONDUIT_REASONS) {
        reasons->n++;

    } else {

        if (i == reasons->n) {
            i = oldest;
        }

        if (ngx_current_msec - reasons->said[i] < NGX_CONDUIT_REASON_INTERVAL) {
            return 0;
        }
    }

    reasons->hash[i] = hash;
    reasons->said[i] = ngx_current_msec;

    return 1;
}
